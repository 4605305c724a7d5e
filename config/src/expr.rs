//! The small expression language of policies: typed, allow-listed, printed with full parentheses.
//!
//! `sqlparser` reads what the operator wrote; whatever is not one of the nodes below is refused. The printer quotes every identifier
//! and puts every operator in parentheses, so that precedence cannot differ between readers. The rewriter checks at load that
//! PostgreSQL's own parser reads the printed form as the tree of what was written.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::names::{ColumnRef, Ident, TableRef, eq_column, quote_ident, quote_literal};

/// A claim that a token (or a login) can carry. An unknown claim in a policy is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// Account id of the user; NULL for guest.
    Sub,
    /// Organisations the user belongs to.
    OrgMemberOf,
    /// Organisations the user administers.
    OrgAdminOf,
    /// Projects the user belongs to.
    ProjectMemberOf,
    /// Projects the user administers.
    ProjectAdminOf,
    /// The account was verified.
    Verified,
    /// The account was disabled.
    Disabled,
    /// Superadmin, with a reason.
    Super,
    /// The module whose service login this is; NULL otherwise.
    Service,
    /// One that `[tokens.claims]` of the configuration declares.
    Declared(Declared),
}

/// A claim of the configuration's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Declared(&'static Declaration);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Declaration {
    name: Box<str>,
    ty: ClaimType,
    sealed: bool,
}

impl fmt::Debug for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

/// What a claim holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClaimType {
    /// `text`.
    Text,
    /// `text[]`.
    TextArray,
    /// `bool`.
    Bool,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `uuid`.
    Uuid,
    /// `timestamptz`.
    TimestampTz,
    /// `int4[]`.
    Int4Array,
    /// `uuid[]`.
    UuidArray,
}

impl ClaimType {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Text,
        Self::Int4,
        Self::Int8,
        Self::Uuid,
        Self::Bool,
        Self::TimestampTz,
        Self::TextArray,
        Self::Int4Array,
        Self::UuidArray,
    ];

    /// Its name in PostgreSQL and in the configuration.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::TextArray => "text[]",
            Self::Bool => "bool",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Uuid => "uuid",
            Self::TimestampTz => "timestamptz",
            Self::Int4Array => "int4[]",
            Self::UuidArray => "uuid[]",
        }
    }

    /// Whether it is a list.
    pub fn is_list(self) -> bool {
        match self {
            Self::TextArray | Self::Int4Array | Self::UuidArray => true,
            Self::Text | Self::Bool | Self::Int4 | Self::Int8 | Self::Uuid | Self::TimestampTz => false,
        }
    }

    /// The type of a list's entries; the type itself where it is none.
    pub fn entry(self) -> Self {
        match self {
            Self::TextArray => Self::Text,
            Self::Int4Array => Self::Int4,
            Self::UuidArray => Self::Uuid,
            other => other,
        }
    }

    /// The type of that name; PostgreSQL's other spellings are taken too.
    pub fn parse(name: &str) -> Option<Self> {
        let (element, brackets) = match name.strip_suffix("[]") {
            Some(element) => (element, "[]"),
            None => (name, ""),
        };
        let element = match element {
            "int" | "integer" => "int4",
            "bigint" => "int8",
            "boolean" => "bool",
            "timestamp with time zone" => "timestamptz",
            other => other,
        };
        let name = format!("{element}{brackets}");
        Self::ALL.into_iter().find(|t| t.sql() == name)
    }
}

impl Claim {
    /// Those that there are without a declaration, in the order in which they are sent and MACed; declared ones follow.
    pub const BUILT_IN: [Claim; 9] = [
        Claim::Sub,
        Claim::OrgMemberOf,
        Claim::OrgAdminOf,
        Claim::ProjectMemberOf,
        Claim::ProjectAdminOf,
        Claim::Verified,
        Claim::Disabled,
        Claim::Super,
        Claim::Service,
    ];

    /// A claim of the configuration's own. Equal declarations are one; each is kept as long as the process, and there are as many as all
    /// configurations that it reads declare. A sealed one never reaches PostgreSQL but as an equality tag.
    pub fn declared(name: &str, ty: ClaimType, sealed: bool) -> Self {
        static DECLARED: Mutex<BTreeSet<&'static Declaration>> = Mutex::new(BTreeSet::new());
        let mut all = DECLARED.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Declaration {
            name: name.into(),
            ty,
            sealed,
        };
        let found = match all.get(&wanted) {
            Some(found) => *found,
            None => {
                let kept: &'static Declaration = Box::leak(Box::new(wanted));
                all.insert(kept);
                kept
            }
        };
        Claim::Declared(Declared(found))
    }

    /// Whether it never reaches PostgreSQL but as an equality tag.
    pub fn sealed(self) -> bool {
        matches!(self, Claim::Declared(Declared(Declaration { sealed: true, .. })))
    }

    /// The name in policies, tokens and (behind `postern.`) settings.
    pub fn name(self) -> &'static str {
        match self {
            Claim::Sub => "sub",
            Claim::OrgMemberOf => "org_member_of",
            Claim::OrgAdminOf => "org_admin_of",
            Claim::ProjectMemberOf => "project_member_of",
            Claim::ProjectAdminOf => "project_admin_of",
            Claim::Verified => "verified",
            Claim::Disabled => "disabled",
            Claim::Super => "super",
            Claim::Service => "service",
            Claim::Declared(Declared(declared)) => &declared.name,
        }
    }

    /// Its type.
    pub fn ty(self) -> ClaimType {
        match self {
            Claim::Sub | Claim::Service => ClaimType::Text,
            Claim::OrgMemberOf | Claim::OrgAdminOf | Claim::ProjectMemberOf | Claim::ProjectAdminOf => ClaimType::TextArray,
            Claim::Verified | Claim::Disabled | Claim::Super => ClaimType::Bool,
            Claim::Declared(Declared(declared)) => declared.ty,
        }
    }

    /// The SQL that reads it inside PostgreSQL. A missing or empty setting is NULL, so `claim = ''` never matches.
    pub fn sql(self) -> String {
        let text = format!(
            "NULLIF(pg_catalog.current_setting('postern.{}'::text, true), ''::text)",
            self.setting()
        );
        match self.ty() {
            ClaimType::Text => text,
            other => format!("({text})::{}", other.sql()),
        }
    }

    /// Its setting's name behind `postern.`; declared claims cannot meet Postern's own settings.
    pub fn setting(self) -> String {
        match self {
            Claim::Declared(_) => format!("claim_{}", self.name()),
            built_in => built_in.name().to_owned(),
        }
    }
}

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Const {
    /// A string.
    Text(String),
    /// An integer.
    Int(i64),
}

/// A claim's equality tag under the key of a protected column. The proxy makes it and sends it under the claims' MAC.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimTag {
    /// The claim.
    pub claim: Claim,
    /// The column that it is compared with.
    pub column: ColumnRef,
}

impl ClaimTag {
    /// The setting in which the tags of a module travel, behind `postern.`: each as name, `=`, the tag in hex, `;`.
    pub const SETTING: &'static str = "tags";

    /// Its name there, derived from its content.
    pub fn name(&self) -> String {
        let ColumnRef { table, column } = &self.column;
        // An identifier holds any character but NUL.
        format!(
            "{:016x}",
            fnv(format!("{}\0{}\0{}\0{column}", self.claim.name(), table.schema, table.name).as_bytes())
        )
    }

    fn sql(&self) -> String {
        format!(
            "pg_catalog.decode(NULLIF(pg_catalog.split_part(pg_catalog.split_part(pg_catalog.current_setting('postern.{}'::text, true), \
             '{}='::text, 2), ';'::text, 1), ''::text), 'hex'::text)",
            Self::SETTING,
            self.name()
        )
    }
}

/// FNV-1a, 64 bit: a stable content name, not a security boundary.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A policy expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// `true` or `false`.
    Bool(bool),
    /// A column of the policy's (or the subquery's) table.
    Column(Ident),
    /// A claim.
    Claim(Claim),
    /// A protected column of the policy's (or the subquery's) table, by its equality tag.
    Tag(Ident),
    /// What such a column is compared with.
    ClaimTag(ClaimTag),
    /// A constant.
    Const(Const),
    /// `a op b`.
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// `a IS [NOT] NULL`.
    IsNull {
        /// What is asked.
        of: Box<Expr>,
        /// `IS NOT NULL`.
        negated: bool,
    },
    /// `a IS [NOT] TRUE`.
    IsTrue {
        /// What is asked.
        of: Box<Expr>,
        /// `IS NOT TRUE`.
        negated: bool,
    },
    /// `NOT a`.
    Not(Box<Expr>),
    /// Conjunction of two or more.
    And(Vec<Expr>),
    /// Disjunction of two or more.
    Or(Vec<Expr>),
    /// `a IN (constants)`.
    InList(Box<Expr>, Vec<Const>),
    /// `a = ANY (claim)`, the claim being an array.
    AnyClaim(Box<Expr>, Claim),
    /// `a IN (SELECT column FROM table WHERE predicate)`. The predicate reads that table and claims only (it is never correlated), so
    /// PostgreSQL evaluates it once per statement.
    InSelect(Box<InSelect>),
}

/// The parts of [`Expr::InSelect`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InSelect {
    /// The value looked for, of the outer table.
    pub value: Expr,
    /// The table looked in. Rows of one that the module declares are seen unfiltered; of one that it imports ([`crate::Manifest::looked_into`]),
    /// what the import shows to whoever asks.
    pub table: TableRef,
    /// The column compared with.
    pub column: Ident,
    /// Which of its rows count.
    pub predicate: Expr,
}

/// How [`Expr::InSelect`] and claims are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subqueries {
    /// As a subquery in place. A claim is read where it stands: for each row.
    Inline,
    /// As [`Subqueries::Inline`], and lists and tags of claims are scalar subqueries, which PostgreSQL evaluates once per statement: taking a
    /// list apart costs a microsecond or two for each row, and planning costs the same either way.
    Lists,
    /// As [`Subqueries::Inline`], and what depends on claims alone is a scalar subquery, which PostgreSQL evaluates once per statement.
    Once,
    /// As [`Subqueries::Once`] within subqueries; without, claims are read where they stand. For statements that ask for a row or so by
    /// its key: there a scalar subquery costs more to plan than it saves.
    Point,
    /// As a call of the owner function of [`InSelect::function_name`] in schema `postern`, which sees unfiltered rows under native RLS;
    /// claims as by [`Subqueries::Lists`].
    Functions,
    /// As [`Subqueries::Functions`], and claims are read where they stand, as by [`Subqueries::Point`].
    PointFunctions,
}

impl Subqueries {
    fn reads_lists_once(self) -> bool {
        match self {
            Self::Lists | Self::Once | Self::Functions => true,
            Self::Inline | Self::Point | Self::PointFunctions => false,
        }
    }
}

impl InSelect {
    /// Name of the function in schema `postern` that returns this subquery's column, derived from its content so that equal
    /// subqueries share one and changed ones never meet an old one.
    pub fn function_name(&self) -> String {
        let hash = fnv(self.body_sql().as_bytes());
        let mut stem = format!("p${}${}", self.table.schema, self.table.name);
        stem.truncate(
            stem.char_indices()
                .map(|(i, _)| i)
                .take_while(|i| *i <= 44)
                .last()
                .unwrap_or(0),
        );
        format!("{stem}${hash:016x}")
    }

    /// The subquery itself, inner subqueries in place.
    pub fn body_sql(&self) -> String {
        self.body(Subqueries::Lists)
    }

    fn body(&self, subqueries: Subqueries) -> String {
        format!(
            "SELECT {c} FROM {t} AS {a} WHERE {p}",
            c = qualified(INNER_ALIAS, &self.column),
            t = self.table.quoted(),
            a = quote_ident(INNER_ALIAS),
            p = self.predicate.filter_sql(INNER_ALIAS, subqueries)
        )
    }
}

/// Alias of the table inside a policy's subquery.
const INNER_ALIAS: &str = "postern$in";

fn claim_source(claim: Claim) -> String {
    format!("claim.{}", quote_ident(claim.name()))
}

fn qualified(alias: &str, column: &Ident) -> String {
    format!("{}.{}", quote_ident(alias), column.quoted())
}

impl Expr {
    /// Prints the expression as SQL, columns qualified by `alias`, fully parenthesised.
    pub fn sql(&self, alias: &str, subqueries: Subqueries) -> String {
        if subqueries == Subqueries::Once && self.is_of_claims() {
            return format!("(SELECT {})", self.sql(alias, Subqueries::Inline));
        }
        let go = |e: &Expr| e.sql(alias, subqueries);
        match self {
            Expr::Bool(b) => b.to_string(),
            Expr::Column(c) => qualified(alias, c),
            Expr::Claim(c) => c.sql(),
            Expr::Tag(c) => format!("{}.{}", quote_ident(alias), quote_ident(&eq_column(c))),
            Expr::ClaimTag(tag) if subqueries.reads_lists_once() => format!("(SELECT {})", tag.sql()),
            Expr::ClaimTag(tag) => tag.sql(),
            Expr::Const(c) => c.sql(),
            Expr::Compare(op, a, b) => format!("({} {} {})", go(a), op.sql(), go(b)),
            Expr::IsNull { of, negated } => format!("({} IS {}NULL)", go(of), if *negated { "NOT " } else { "" }),
            Expr::IsTrue { of, negated } => format!("({} IS {}TRUE)", go(of), if *negated { "NOT " } else { "" }),
            Expr::Not(e) => format!("(NOT {})", go(e)),
            Expr::And(es) => joined(es, " AND ", go),
            Expr::Or(es) => joined(es, " OR ", go),
            Expr::InList(e, list) => {
                format!(
                    "({} IN ({}))",
                    go(e),
                    list.iter().map(Const::sql).collect::<Vec<_>>().join(", ")
                )
            }
            // The cast makes it one array; `= ANY (SELECT …)` would compare with each row of a result.
            Expr::AnyClaim(e, claim) if subqueries.reads_lists_once() => {
                format!("({} = ANY ((SELECT {})::{}))", go(e), claim.sql(), claim.ty().sql())
            }
            Expr::AnyClaim(e, claim) => format!("({} = ANY ({}))", go(e), claim.sql()),
            Expr::InSelect(s) => match subqueries {
                Subqueries::Inline | Subqueries::Lists => format!("({} IN ({}))", go(&s.value), s.body(subqueries)),
                Subqueries::Once | Subqueries::Point => format!("({} IN ({}))", go(&s.value), s.body(Subqueries::Once)),
                Subqueries::Functions | Subqueries::PointFunctions => {
                    format!("({} IN (SELECT postern.{}()))", go(&s.value), quote_ident(&s.function_name()))
                }
            },
        }
    }

    /// [`Expr::sql`] for a whole WHERE: PostgreSQL evaluates a conjunct without columns once by itself.
    pub fn filter_sql(&self, alias: &str, subqueries: Subqueries) -> String {
        match self {
            Expr::And(es) => joined(es, " AND ", |e| e.filter_sql(alias, subqueries)),
            e if subqueries == Subqueries::Once && e.is_of_claims() => e.sql(alias, Subqueries::Inline),
            e => e.sql(alias, subqueries),
        }
    }

    /// Whether PostgreSQL makes a join of it where it is a WHERE: a conjunct that is a subquery (not one beneath OR or NOT).
    pub fn becomes_join(&self) -> bool {
        match self {
            Expr::And(es) => es.iter().any(Expr::becomes_join),
            Expr::InSelect(_) => true,
            _ => false,
        }
    }

    /// Whether it reads claims, and neither columns nor other tables.
    fn is_of_claims(&self) -> bool {
        let (mut claims, mut rows) = (false, false);
        self.walk(&mut |e| {
            claims |= matches!(e, Expr::Claim(_) | Expr::ClaimTag(_) | Expr::AnyClaim(..));
            rows |= matches!(e, Expr::Column(_) | Expr::Tag(_) | Expr::InSelect(_));
        });
        claims && !rows
    }

    /// Prints the expression in the manifest's own dialect (`claim.sub`, bare columns), fully parenthesised. PostgreSQL's tree of this
    /// text must equal its tree of what the operator wrote, once redundant parentheses are gone and nested AND/OR are flattened.
    pub fn source(&self) -> String {
        match self {
            Expr::Column(c) | Expr::Tag(c) => c.quoted(),
            Expr::Claim(c) => claim_source(*c),
            Expr::ClaimTag(tag) => claim_source(tag.claim),
            Expr::Bool(_) | Expr::Const(_) => self.sql("", Subqueries::Inline),
            Expr::Compare(op, a, b) => format!("({} {} {})", a.source(), op.sql(), b.source()),
            Expr::IsNull { of, negated } => format!("({} IS {}NULL)", of.source(), if *negated { "NOT " } else { "" }),
            Expr::IsTrue { of, negated } => format!("({} IS {}TRUE)", of.source(), if *negated { "NOT " } else { "" }),
            Expr::Not(e) => format!("(NOT {})", e.source()),
            Expr::And(es) => joined(es, " AND ", Expr::source),
            Expr::Or(es) => joined(es, " OR ", Expr::source),
            Expr::InList(e, list) => {
                format!(
                    "({} IN ({}))",
                    e.source(),
                    list.iter().map(Const::sql).collect::<Vec<_>>().join(", ")
                )
            }
            Expr::AnyClaim(e, claim) => format!("({} = ANY ({}))", e.source(), claim_source(*claim)),
            Expr::InSelect(s) => format!(
                "({} IN (SELECT {} FROM {} WHERE {}))",
                s.value.source(),
                s.column.quoted(),
                s.table.name.quoted(),
                s.predicate.source()
            ),
        }
    }

    /// Calls `visit` on this expression and every one below it, the predicates of subqueries included.
    pub fn walk<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        visit(self);
        match self {
            Expr::Bool(_) | Expr::Column(_) | Expr::Claim(_) | Expr::Tag(_) | Expr::ClaimTag(_) | Expr::Const(_) => {}
            Expr::Compare(_, a, b) => {
                a.walk(visit);
                b.walk(visit);
            }
            Expr::IsNull { of: e, .. }
            | Expr::IsTrue { of: e, .. }
            | Expr::Not(e)
            | Expr::InList(e, _)
            | Expr::AnyClaim(e, _) => {
                e.walk(visit);
            }
            Expr::And(es) | Expr::Or(es) => es.iter().for_each(|e| e.walk(visit)),
            Expr::InSelect(s) => {
                s.value.walk(visit);
                s.predicate.walk(visit);
            }
        }
    }

    /// The expression with other columns of its own table where `renamed` names one (those of subqueries' tables stay).
    pub fn with_columns(self, renamed: &dyn Fn(&Ident) -> Option<Ident>) -> Self {
        match self {
            Expr::Column(c) => Expr::Column(renamed(&c).unwrap_or(c)),
            Expr::Tag(c) => Expr::Tag(renamed(&c).unwrap_or(c)),
            Expr::InSelect(select) => Expr::InSelect(Box::new(InSelect {
                value: select.value.with_columns(renamed),
                ..*select
            })),
            other => other.with_parts(&|e| e.with_columns(renamed)),
        }
    }

    /// The expression with other subqueries: inner ones are changed before those around them.
    pub fn with_subqueries(self, changed: &dyn Fn(InSelect) -> InSelect) -> Self {
        match self {
            Expr::InSelect(select) => Expr::InSelect(Box::new(changed(InSelect {
                value: select.value.with_subqueries(changed),
                predicate: select.predicate.with_subqueries(changed),
                ..*select
            }))),
            other => other.with_parts(&|e| e.with_subqueries(changed)),
        }
    }

    /// The expression with `changed` made of each expression that it directly consists of; of a subquery, neither value nor predicate.
    fn with_parts(self, changed: &dyn Fn(Expr) -> Expr) -> Self {
        let go = |e: Box<Expr>| Box::new(changed(*e));
        let all = |es: Vec<Expr>| es.into_iter().map(changed).collect();
        match self {
            Expr::Bool(_)
            | Expr::Column(_)
            | Expr::Claim(_)
            | Expr::Tag(_)
            | Expr::ClaimTag(_)
            | Expr::Const(_)
            | Expr::InSelect(_) => self,
            Expr::Compare(op, a, b) => Expr::Compare(op, go(a), go(b)),
            Expr::IsNull { of, negated } => Expr::IsNull { of: go(of), negated },
            Expr::IsTrue { of, negated } => Expr::IsTrue { of: go(of), negated },
            Expr::Not(e) => Expr::Not(go(e)),
            Expr::And(es) => Expr::And(all(es)),
            Expr::Or(es) => Expr::Or(all(es)),
            Expr::InList(e, list) => Expr::InList(go(e), list),
            Expr::AnyClaim(e, claim) => Expr::AnyClaim(go(e), claim),
        }
    }

    /// The equality tags of claims that it asks for, those in subqueries included.
    pub fn claim_tags(&self) -> Vec<ClaimTag> {
        let mut tags = Vec::new();
        self.walk(&mut |e| {
            if let Expr::ClaimTag(tag) = e {
                tags.push(tag.clone());
            }
        });
        tags
    }

    /// Every subquery in it, inner ones included.
    pub fn subqueries(&self) -> Vec<&InSelect> {
        let mut found = Vec::new();
        self.walk(&mut |e| {
            if let Expr::InSelect(select) = e {
                found.push(&**select);
            }
        });
        found
    }

    /// Columns of the policy's own table that this reads (those of subqueries' tables are not among them).
    pub fn own_columns(&self) -> Vec<Ident> {
        let mut found = Vec::new();
        self.collect_own(&mut found);
        found.sort();
        found.dedup();
        found
    }

    fn collect_own(&self, found: &mut Vec<Ident>) {
        match self {
            Expr::Bool(_) | Expr::Claim(_) | Expr::ClaimTag(_) | Expr::Const(_) => {}
            Expr::Column(c) | Expr::Tag(c) => found.push(c.clone()),
            Expr::Compare(_, a, b) => {
                a.collect_own(found);
                b.collect_own(found);
            }
            Expr::IsNull { of: e, .. }
            | Expr::IsTrue { of: e, .. }
            | Expr::Not(e)
            | Expr::InList(e, _)
            | Expr::AnyClaim(e, _) => {
                e.collect_own(found);
            }
            Expr::And(es) | Expr::Or(es) => es.iter().for_each(|e| e.collect_own(found)),
            Expr::InSelect(s) => s.value.collect_own(found),
        }
    }
}

impl Const {
    fn sql(&self) -> String {
        match self {
            Const::Text(t) => quote_literal(t),
            Const::Int(i) if *i < 0 => format!("({i})"),
            Const::Int(i) => i.to_string(),
        }
    }
}

impl Compare {
    /// The operator that is TRUE where this one is FALSE (both are NULL where an operand is).
    pub fn negated(self) -> Self {
        match self {
            Compare::Eq => Compare::Ne,
            Compare::Ne => Compare::Eq,
            Compare::Lt => Compare::Ge,
            Compare::Le => Compare::Gt,
            Compare::Gt => Compare::Le,
            Compare::Ge => Compare::Lt,
        }
    }

    /// The operator's spelling.
    pub fn sql(self) -> &'static str {
        match self {
            Compare::Eq => "=",
            Compare::Ne => "<>",
            Compare::Lt => "<",
            Compare::Le => "<=",
            Compare::Gt => ">",
            Compare::Ge => ">=",
        }
    }
}

fn joined(es: &[Expr], with: &str, print: impl Fn(&Expr) -> String) -> String {
    format!("({})", es.iter().map(print).collect::<Vec<_>>().join(with))
}
