//! Plans for statements whose literals differ each time, as the simple protocol sends them.
//!
//! A [`Template`] is a statement judged with its literals hidden. [`mask`] takes the literals out of a text; what remains is the key under
//! which a template is found; [`Template::fill`] puts the literals of another text with that key into it. What comes out is what planning
//! that text by itself would give, field for field.
//!
//! Why a decision that looked at a literal cannot be used for another one:
//! - A hole is a plain string or the digits of a plain number at one of the positions that `holes` names. While the statement is judged a
//!   parameter stands there, so there is no value to look at; where the judge needs one (a relation's name, a setting, an ordinal), the
//!   literal is not at such a position and stays exact ([`Template::takes`] compares it), or the judge refuses and there is no template.
//! - PostgreSQL gets literals of the same kinds where the client wrote them, with quotes of our own, in a text that was judged and read a
//!   second time. A literal that belongs to a protected column stays a parameter, sealed each time.
//! - A template is made only if filling it equals planning the very text with its literals visible, and again for a twin of the text with
//!   other, hostile literals.
//!
//! Refused: more than one statement, other statements than SELECT, INSERT, UPDATE and DELETE, plans that Postern answers itself or carries
//! out row by row, statements with an effect on the session, and whatever [`mask`] does not understand. Those are planned as ever.
//!
//! Bounds: texts of at most 16 KiB, at most 256 holes; [`Template::weight`] says what one holds, [`Variants`] keeps at most eight for a key.

mod holes;
mod mask;
mod parameters;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use pg_query::protobuf::{Node, RawStmt, Token};

use self::holes::{Open, Opened, is_zero, open};
use self::mask::Kind;
pub use self::mask::{MAX_BYTES, MAX_HOLES, Masked, mask};
use crate::judge::Ask;
use crate::parse;
use crate::plan::{Effect, Param, Plan, Rewritten, Run, Statement, Value};
use crate::statement::{plan_node, plan_one, weight};

/// What a template costs beside its texts.
const OWN_WEIGHT: usize = 1024;

/// Most templates of one key.
const MAX_VARIANTS: usize = 8;

/// A statement planned with its literals hidden.
pub struct Template {
    /// The key of the text that it was made of.
    key: Box<[u8]>,
    /// Longest text that would be planned.
    max_bytes: usize,
    /// Literals that stayed exact: (hole, value).
    exact: Box<[(usize, Box<str>)]>,
    /// What goes upstream, without what goes into the slots.
    text: Box<str>,
    /// Where `text` was cut, and what goes there.
    slots: Cuts,
    /// Our own parameters, before the holes that they mention are filled.
    params: Box<[Param]>,
    /// Which hole the judge knew by which number.
    holes: Box<[Open]>,
    /// Everything else, without text and parameters.
    statement: Statement,
    /// What was decided.
    plan: Arc<Plan>,
    /// The statement as it was judged, where it is plain and parameters serve.
    prepared: Option<Prepared>,
    weight: usize,
}

/// The statement with its literals as parameters.
struct Prepared {
    plan: Arc<Plan>,
    /// PostgreSQL's types for literals of their kinds, one for each parameter; 0 leaves `unknown` ones to be inferred.
    types: Box<[u32]>,
    /// What each parameter is.
    arguments: Box<[Open]>,
}

/// Where something goes into a text, in order.
type Cuts = Box<[(usize, Slot)]>;

/// What goes into a text.
#[derive(Clone, Copy)]
enum Slot {
    /// A hole's literal.
    Literal(Open),
    /// A parameter: index into [`Template::params`].
    Param(usize),
}

impl Template {
    /// Plans the text with its literals hidden; `None` where it has no template. `masked` is what [`mask`] made of this very text. Costs
    /// about three times as much as planning it, and needs as deep a stack.
    pub fn of(sql: &str, masked: &Masked, ask: &Ask<'_>) -> Option<Self> {
        Self::beside(&plan_one(sql, ask).ok()??, sql, masked, ask)
    }

    /// [`Template::of`] where the text's own plan is at hand: what [`crate::plan_one`] or [`crate::plan_batch`] made of it for the same `ask`.
    pub fn beside(exact: &Plan, sql: &str, masked: &Masked, ask: &Ask<'_>) -> Option<Self> {
        let mut own = Masked::default();
        if !mask(sql, &mut own) || own != *masked || own.is_empty() {
            return None;
        }
        let template = Self::judged(&only_statement(sql, ask)?, &own, ask)?;
        let open = |hole: usize| template.holes.iter().any(|o| o.hole == hole);
        let twin_text = own.with_literals(sql, |hole, kind| open(hole).then(|| hostile(hole, kind)))?;
        let mut twin = Masked::default();
        let proven = template.fill(&own).as_ref() == Some(exact)
            && mask(&twin_text, &mut twin)
            && plan_one(&twin_text, ask).is_ok_and(|plan| plan.is_some() && plan == template.fill(&twin));
        proven.then_some(template)
    }

    /// Whether it may be filled with these literals: the key is the same, and so are the literals that had to stay exact.
    pub fn takes(&self, masked: &Masked) -> bool {
        *self.key == *masked.key()
            && masked.bytes() <= self.max_bytes
            && self.exact.iter().all(|(hole, value)| masked.value(*hole) == &**value)
            && self.holes.iter().all(|o| !o.negated || !is_zero(masked.value(o.hole)))
    }

    /// What runs with these literals; `None` where it does not take them, or what runs has parameters, values to draw or columns to open
    /// ([`Template::fill`] gives those).
    pub fn fill_plain(&self, masked: &Masked) -> Option<Rewritten> {
        if !self.is_plain() || !self.takes(masked) {
            return None;
        }
        Some(Rewritten::new(self.text_with(masked, &[])))
    }

    /// Whether [`Template::fill_plain`] serves: one text, no parameters, and rows pass unread.
    pub fn is_plain(&self) -> bool {
        self.params.is_empty() && self.statement.output.is_none() && self.statement.generate.is_empty()
    }

    /// The statement with its literals as parameters, as it was judged, so that it can be prepared once and run with any literals that the
    /// template takes; and the types to declare for its parameters. `None` where [`Template::is_plain`] does not hold, or where a parameter
    /// might mean something else than the literal in its place.
    ///
    /// Where PostgreSQL prepares this at all, what runs means what the text with literals would. It may refuse to (42P18, where a literal
    /// would have become `text` at last; 42803, where two equal literals made two expressions one): then only [`Template::fill_plain`] serves.
    pub fn prepared(&self) -> Option<(&Arc<Plan>, &[u32])> {
        self.prepared.as_ref().map(|p| (&p.plan, &*p.types))
    }

    /// The values of [`Template::prepared`]'s parameters, in order and in text form: a sign, and what follows it.
    pub fn arguments<'m>(&'m self, masked: &'m Masked) -> impl ExactSizeIterator<Item = (&'static str, &'m str)> + 'm {
        let arguments = self.prepared.as_ref().map_or(&[][..], |p| &p.arguments);
        let value = |open: &Open| (if open.negated { "-" } else { "" }, masked.value(open.hole));
        arguments.iter().map(value)
    }

    /// The plan with these literals, equal to the one that planning their text gives; `None` where it does not take them.
    pub fn fill(&self, masked: &Masked) -> Option<Plan> {
        if !self.takes(masked) {
            return None;
        }
        let (params, numbers) = self.shared_params(masked);
        let mut statement = self.statement.clone();
        statement.sql = Rewritten::new(self.text_with(masked, &numbers));
        statement.params = params;
        for door in statement.output.iter_mut().flat_map(|o| &mut o.door) {
            for value in &mut door.one_of {
                self.fill_value(value, masked);
            }
        }
        let run = Run::Once(statement);
        Some(Plan {
            weight: weight(&run),
            run,
            ..(*self.plan).clone()
        })
    }

    /// What was decided, for all literals alike: effect, relations, policies, opened columns. It runs nothing ([`Run::Answer`]): what runs
    /// comes from [`Template::fill_plain`] and [`Template::fill`].
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The key that it was made for.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Bytes that it holds, for a cache's bound.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// The statement with its holes as parameters, judged, cut at them.
    fn judged(stmt: &Node, masked: &Masked, ask: &Ask<'_>) -> Option<Self> {
        let Opened { stmt, holes } = open(stmt, masked)?;
        let with_parameters = stmt.clone();
        let mut plan = plan_node(stmt, ask).ok()?;
        let Run::Once(mut statement) = std::mem::replace(&mut plan.run, Run::Answer("")) else {
            return None;
        };
        if plan.effect != Effect::None || !plan.cacheable {
            return None;
        }
        let mut params = Vec::new();
        let slot_of: Vec<Slot> = std::mem::take(&mut statement.params)
            .into_iter()
            .map(|p| match p {
                Param::Client(n) => holes.get(usize::from(n)).map(|open| Slot::Literal(*open)),
                ours => {
                    params.push(ours);
                    Some(Slot::Param(params.len() - 1))
                }
            })
            .collect::<Option<_>>()?;
        let (text, slots) = cut(statement.sql.sql(), &slot_of)?;
        let whole = std::mem::replace(&mut statement.sql, Rewritten::new(String::new()));
        // The text has no parameters of the client's.
        plan.param_types = Vec::new();
        plan.client_params = 0;
        let plain = params.is_empty() && statement.output.is_none() && statement.generate.is_empty();
        let prepared = match plain && parameters::serve(&with_parameters, &holes, masked, whole.sql()) {
            true => Some(Prepared::of(whole, &statement, &plan, &slot_of, masked)?),
            false => None,
        };
        let exact: Vec<(usize, Box<str>)> = (0..masked.holes())
            .filter(|hole| !holes.iter().any(|o| o.hole == *hole))
            .map(|hole| (hole, masked.value(hole).into()))
            .collect();
        let weight = OWN_WEIGHT
            + plan.weight
            + masked.key().len()
            + text.len()
            + slots.len() * size_of::<(usize, Slot)>()
            + prepared
                .as_ref()
                .map_or(0, |p| p.plan.weight + p.types.len() * size_of::<(u32, Open)>())
            + exact
                .iter()
                .map(|(_, v)| v.len() + size_of::<(usize, Box<str>)>())
                .sum::<usize>();
        Some(Self {
            key: masked.key().into(),
            max_bytes: ask.max_sql_bytes,
            exact: exact.into(),
            text,
            slots,
            params: params.into(),
            holes: holes.into(),
            statement,
            plan: Arc::new(plan),
            prepared,
            weight,
        })
    }

    /// Text and literals, with our own parameters under these numbers.
    fn text_with(&self, masked: &Masked, numbers: &[usize]) -> String {
        let extra: usize = self
            .slots
            .iter()
            .map(|(_, slot)| match slot {
                Slot::Literal(open) => masked.written(open.hole) + usize::from(open.negated),
                // `$65535` is the longest.
                Slot::Param(_) => 6,
            })
            .sum();
        let mut out = String::with_capacity(self.text.len() + extra);
        let mut from = 0;
        for (until, slot) in &self.slots {
            out.push_str(self.text.get(from..*until).unwrap_or_default());
            from = *until;
            match slot {
                Slot::Literal(open) => {
                    if open.negated {
                        out.push('-');
                    }
                    masked.write(open.hole, &mut out);
                }
                Slot::Param(index) => {
                    out.push('$');
                    out.push_str(&numbers.get(*index).copied().unwrap_or_default().to_string());
                }
            }
        }
        out.push_str(self.text.get(from..).unwrap_or_default());
        out
    }

    /// Our own parameters with their holes filled, and the number of each in the text: equal ones are one, as the judge makes them, but
    /// each sealed value has a nonce of its own.
    fn shared_params(&self, masked: &Masked) -> (Vec<Param>, Vec<usize>) {
        let mut params: Vec<Param> = Vec::with_capacity(self.params.len());
        let mut known: HashMap<Param, usize> = HashMap::new();
        let mut numbers = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let mut param = param.clone();
            self.fill_param(&mut param, masked);
            let number = params.len() + 1;
            if !matches!(param, Param::Seal { .. }) {
                if let Some(known) = known.get(&param) {
                    numbers.push(*known);
                    continue;
                }
                known.insert(param.clone(), number);
            }
            params.push(param);
            numbers.push(number);
        }
        (params, numbers)
    }

    fn fill_param(&self, param: &mut Param, masked: &Masked) {
        match param {
            Param::Client(_) | Param::Text(_) | Param::Generated(_) | Param::Row(_) => {}
            Param::Seal { value, bound, .. } => {
                self.fill_value(value, masked);
                for value in bound {
                    self.fill_value(value, masked);
                }
            }
            Param::EqTag { value, .. } | Param::EqTags { value, .. } => self.fill_value(value, masked),
        }
    }

    fn fill_value(&self, value: &mut Value, masked: &Masked) {
        match value {
            Value::Client(n, ty) => {
                // A number that is no hole's stays; it would not equal the exact plan.
                if let Some(open) = self.holes.get(usize::from(*n)) {
                    let sign = if open.negated { "-" } else { "" };
                    let text = format!("{sign}{}", masked.value(open.hole));
                    *value = Value::Text(Some(text.into()), ty.clone());
                }
            }
            Value::Tag(_, inner) => self.fill_value(inner, masked),
            Value::Text(..) | Value::Generated(_) | Value::Row(..) | Value::Opened(_) | Value::Claim(..) => {}
        }
    }
}

impl Prepared {
    /// `sql` has one parameter for each slot.
    fn of(sql: Rewritten, rest: &Statement, plan: &Plan, slots: &[Slot], masked: &Masked) -> Option<Self> {
        let arguments: Box<[Open]> = slots
            .iter()
            .map(|slot| match slot {
                Slot::Literal(open) => Some(*open),
                Slot::Param(_) => None,
            })
            .collect::<Option<_>>()?;
        let types = arguments.iter().map(|open| masked.kind(open.hole).map(Kind::type_oid));
        let types = types.collect::<Option<_>>()?;
        let run = Run::Once(Statement {
            sql,
            params: (0..u16::try_from(arguments.len()).ok()?).map(Param::Client).collect(),
            ..rest.clone()
        });
        let plan = Plan {
            weight: weight(&run),
            run,
            ..plan.clone()
        };
        Some(Self {
            plan: Arc::new(plan),
            types,
            arguments,
        })
    }
}

/// The tree of a text that is one statement.
fn only_statement(sql: &str, ask: &Ask<'_>) -> Option<Node> {
    let mut statements = parse::parse(sql, ask.max_sql_bytes).ok()?;
    let only = statements.pop()?;
    let RawStmt { stmt, .. } = only.stmt;
    if !statements.is_empty() {
        return None;
    }
    stmt.map(|s| *s)
}

/// A judged text without its parameters, and where it was cut.
fn cut(sql: &str, slot_of: &[Slot]) -> Option<(Box<str>, Cuts)> {
    let mut text = String::with_capacity(sql.len());
    let mut slots = Vec::new();
    let mut from = 0;
    for token in pg_query::scan(sql).ok()?.tokens {
        if token.token() != Token::Param {
            continue;
        }
        let (start, end) = (usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?);
        let number: usize = sql.get(start + 1..end)?.parse().ok()?;
        let slot = slot_of.get(number.checked_sub(1)?)?;
        text.push_str(sql.get(from..start)?);
        slots.push((text.len(), *slot));
        from = end;
    }
    text.push_str(sql.get(from..)?);
    Some((text.into(), slots.into()))
}

/// A literal that nobody wrote, as different from another as can be: whoever looks at it decides differently.
fn hostile(hole: usize, kind: Kind) -> String {
    match kind {
        Kind::String => format!("'\\''\"{hole}'"),
        Kind::Integer => (2_147_483_647 - hole).to_string(),
        Kind::Bigint => (9_223_372_036_854_775_807 - hole).to_string(),
        Kind::Decimal => format!("{hole}.{hole}10"),
    }
}

/// The templates of one key. They differ in literals that had to stay exact (`LIMIT 10`, `LIMIT 20`).
#[derive(Default, Clone)]
pub struct Variants(Vec<Arc<Template>>);

impl Variants {
    /// The one that takes these literals.
    pub fn find(&self, masked: &Masked) -> Option<&Arc<Template>> {
        self.0.iter().find(|t| t.takes(masked))
    }

    /// Adds one; where there are eight already, it is not kept: literals that have to stay exact and differ each time gain nothing.
    pub fn add(&mut self, template: Arc<Template>) {
        if !self.is_full() {
            self.0.push(template);
        }
    }

    /// Whether another one would not be kept.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_VARIANTS
    }

    /// Bytes that they hold.
    pub fn weight(&self) -> usize {
        self.0.iter().map(|t| t.weight()).sum()
    }
}
