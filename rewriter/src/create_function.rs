//! Functions of the module's own: CREATE, ALTER, DROP, COMMENT, and calls of them.
//!
//! Promised: the body of a function in SQL is judged like any statement, with its arguments for parameters, and what is stored is what was
//! judged: every relation, type and function in it is qualified, so no later path changes its meaning. It runs with the caller's rights. It reads
//! no declared table: a stored body would keep the policies of its day, and one that is marked IMMUTABLE is computed while a plan is made that then
//! serves other users. Nor does it leave anything behind in the session, since a call does not show what the body does.
//!
//! A body in plpgsql is not read. Only a manifest that says `accepts_second_lock_only_bodies = true` may have such functions, for its service
//! logins; where it declares tables, none that is IMMUTABLE.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, DefElem, FunctionParameterMode, Node, ObjectWithArgs, TypeName};
use postern_config::LoginKind;

use crate::catalog::Signature;
use crate::ddl::not_by;
use crate::judge::{Ask, Judge, judged};
use crate::plan::{Keeps, Refusal};
use crate::scope::{Col, Entry, Scope};
use crate::select::Mode;
use crate::{allow, parse, tree};

/// Types that stand for others, and that no value is stored in.
const PSEUDO_TYPES: &[&str] = &[
    "anyarray",
    "anycompatible",
    "anycompatiblearray",
    "anycompatiblemultirange",
    "anycompatiblenonarray",
    "anycompatiblerange",
    "anyelement",
    "anyenum",
    "anymultirange",
    "anynonarray",
    "anyrange",
    "record",
    "trigger",
];

/// The function whose body is being judged.
#[derive(Clone)]
pub(crate) struct Body {
    name: String,
    /// Its arguments by name; the empty name for one that has none.
    arguments: Vec<String>,
}

impl Body {
    /// What a body's names mean where no relation in it has a column of that name.
    fn scope(&self) -> Scope<'static> {
        let columns = self
            .arguments
            .iter()
            .filter(|a| !a.is_empty())
            .map(|a| Col::plain(a))
            .collect();
        let mut scope = Scope::new(None);
        scope.entries.push(Entry::plain(&self.name, Some(columns)));
        scope
    }

    /// `$n` in a body is an argument.
    pub(crate) fn parameter(&self, p: &protobuf::ParamRef) -> Result<(), Refusal> {
        match usize::try_from(p.number) {
            Ok(n) if (1..=self.arguments.len()).contains(&n) => Ok(()),
            _ => Err(Refusal::new(
                "42P02",
                "parameter",
                format!("there is no parameter ${}", p.number),
            )),
        }
    }

    /// The refusal of what a body may not hold.
    pub(crate) fn refuses(what: &str) -> Refusal {
        Refusal::construct(&format!("{what} in a function's body")).hint(
            "A body reads tables that no manifest declares, its arguments and listed functions: what it read of others would keep today's \
             policies. Send the statement itself, or pass what it needs as an argument.",
        )
    }
}

impl Judge<'_> {
    pub(crate) fn create_function(&mut self, f: &mut protobuf::CreateFunctionStmt) -> Result<(), Refusal> {
        if f.is_procedure {
            return Err(Refusal::statement("CREATE PROCEDURE"));
        }
        self.may_change_functions()?;
        let own = self.ask.catalog.schema.as_str();
        let name = match tree::parts(&f.funcname).as_deref() {
            Some([name]) => (*name).to_owned(),
            Some([schema, name]) if *schema == own => (*name).to_owned(),
            Some([.., schema, _]) => {
                return Err(Refusal::new(
                    "3F000",
                    "relation",
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
            _ => return Err(Refusal::internal("a function has no name")),
        };
        free_name(&name)?;
        f.funcname = vec![tree::string(own), tree::string(&name)];
        let mut body = Body {
            name,
            arguments: Vec::new(),
        };
        for n in &mut f.parameters {
            let Some(NodeEnum::FunctionParameter(p)) = &mut n.node else {
                return Err(Refusal::internal("a function's arguments hold something else"));
            };
            self.argument(p)?;
            if !matches!(
                p.mode(),
                FunctionParameterMode::FuncParamOut | FunctionParameterMode::FuncParamTable
            ) {
                body.arguments.push(p.name.clone());
            }
        }
        if let Some(ty) = &mut f.return_type {
            let set = std::mem::take(&mut ty.setof);
            self.pseudo_type(ty)?;
            ty.setof = set;
        }
        let mut language = None;
        let mut text = None;
        for (i, n) in f.options.iter().enumerate() {
            let Some(NodeEnum::DefElem(d)) = &n.node else {
                return Err(Refusal::internal("a function's options hold something else"));
            };
            match d.defname.as_str() {
                "language" => language = word(d),
                "as" => text = Some((i, source(d)?)),
                _ => attribute(d)?,
            }
        }
        let language = language.unwrap_or_else(|| "sql".to_owned());
        match (language.as_str(), text, &mut f.sql_body) {
            ("sql", Some((i, source)), None) => {
                let read = self.read_body(&source, &body)?;
                if let Some(NodeEnum::DefElem(d)) = f.options.get_mut(i).and_then(|n| n.node.as_mut()) {
                    d.arg = Some(Box::new(tree::node(NodeEnum::List(protobuf::List {
                        items: vec![tree::string(&read)],
                    }))));
                }
                Ok(())
            }
            ("sql", None, Some(statements)) => self.walk_body(statements, &body),
            ("plpgsql", Some(_), None) => {
                self.may_have_unread_bodies()?;
                f.options.iter().try_for_each(|n| self.may_be_folded(n))
            }
            ("sql" | "plpgsql", ..) => Err(Refusal::syntax("a function has one body")),
            _ => Err(Refusal::denied("function", "permission denied for this language")
                .hint("Functions are written in SQL; in plpgsql where the manifest accepts bodies that nobody reads.")),
        }
    }

    /// Functions are the module's own, as relations that no manifest declares: its service logins call them, so no user makes or changes one.
    fn may_change_functions(&self) -> Result<(), Refusal> {
        match self.ask.undeclared {
            true => Ok(()),
            false => Err(not_by(self.ask)),
        }
    }

    fn may_have_unread_bodies(&self) -> Result<(), Refusal> {
        if self.ask.catalog.second_lock_only_bodies && self.ask.login.kind == LoginKind::Service {
            return Ok(());
        }
        Err(
            Refusal::denied("function", "permission denied for language plpgsql").hint(
                "Nobody reads such a body: only a service login whose manifest says accepts_second_lock_only_bodies = true may make one. \
             Write the function in SQL.",
            ),
        )
    }

    /// What is IMMUTABLE is computed while a plan is made, and plans serve all users: an unread body must not read what is filtered.
    fn may_be_folded(&self, option: &Node) -> Result<(), Refusal> {
        let immutable = matches!(&option.node, Some(NodeEnum::DefElem(d))
            if d.defname == "volatility" && word(d).as_deref() == Some("immutable"));
        if immutable && self.ask.catalog.relations().any(|r| r.is_manifests()) {
            return Err(Refusal::denied(
                "function",
                "permission denied: a body that nobody reads is not IMMUTABLE where tables are filtered",
            )
            .hint("Declare it STABLE, or write it in SQL."));
        }
        Ok(())
    }

    /// Judges a body that is a text, statement by statement; what comes of it is what is stored.
    fn read_body(&self, source: &str, body: &Body) -> Result<String, Refusal> {
        let mut read = Vec::new();
        for parsed in parse::parse(source, self.ask.max_sql_bytes).map_err(|r| r.at(-1))? {
            let Some(statement) = parsed.stmt.stmt else {
                return Err(Refusal::internal("a statement is empty"));
            };
            let found = judged(&statement, self.ask, false, |judge, n| {
                judge.body = Some(body.clone());
                judge.body_statement(n, &body.scope())
            })
            // It would count from the beginning of the body.
            .map_err(|r| r.at(-1))?;
            leaves_nothing(found.keeps)?;
            if !found.params.is_empty() {
                return Err(Refusal::internal("a function's body needs parameters of its own"));
            }
            read.push(found.sql.sql().to_owned());
        }
        Ok(read.join("; "))
    }

    /// Judges a body that stands in the statement's own tree: `RETURN …`, or `BEGIN ATOMIC … END`.
    fn walk_body(&mut self, statements: &mut Node, body: &Body) -> Result<(), Refusal> {
        let before = std::mem::replace(&mut self.keeps, Keeps::NOTHING);
        self.body = Some(body.clone());
        let scope = body.scope();
        match &mut statements.node {
            Some(NodeEnum::ReturnStmt(_)) => self.body_statement(statements, &scope)?,
            Some(NodeEnum::List(outer)) => {
                for list in &mut outer.items {
                    match &mut list.node {
                        Some(NodeEnum::List(l)) => l.items.iter_mut().try_for_each(|n| self.body_statement(n, &scope))?,
                        None => {}
                        _ => return Err(Refusal::internal("a function's body has another form")),
                    }
                }
            }
            _ => return Err(Refusal::internal("a function's body has another form")),
        }
        self.body = None;
        leaves_nothing(std::mem::replace(&mut self.keeps, before))
    }

    fn body_statement(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<(), Refusal> {
        let outer = Some(scope);
        match &mut n.node {
            Some(NodeEnum::SelectStmt(s)) => self.select(s, outer, &Mode::Values).map(|_| ()),
            Some(NodeEnum::InsertStmt(i)) => self.insert(i, outer, &Mode::Values).map(|_| ()),
            Some(NodeEnum::UpdateStmt(u)) => self.update(u, outer, &Mode::Values).map(|_| ()),
            Some(NodeEnum::DeleteStmt(d)) => self.delete(d, outer, &Mode::Values).map(|_| ()),
            Some(NodeEnum::ReturnStmt(r)) => self.plain_opt(r.returnval.as_mut(), scope),
            _ => Err(Body::refuses("This kind of statement")),
        }
    }

    /// ALTER FUNCTION: its attributes.
    pub(crate) fn alter_function(&mut self, f: &mut protobuf::AlterFunctionStmt) -> Result<(), Refusal> {
        if f.objtype() != protobuf::ObjectType::ObjectFunction {
            return Err(Refusal::statement("ALTER of this kind of routine"));
        }
        let Some(function) = &mut f.func else {
            return Err(Refusal::internal("a function has no name"));
        };
        self.existing_function(function, false)?;
        let unread = self.ask.catalog.second_lock_only_bodies;
        f.actions.iter().try_for_each(|n| match &n.node {
            // Of which language it is, is not known here.
            Some(NodeEnum::DefElem(d)) if unread => attribute(d).and_then(|()| self.may_be_folded(n)),
            Some(NodeEnum::DefElem(d)) => attribute(d),
            _ => Err(Refusal::internal("a function's options hold something else")),
        })
    }

    pub(crate) fn rename_function(&mut self, r: &mut protobuf::RenameStmt) -> Result<(), Refusal> {
        free_name(&r.newname)?;
        self.function_object(r.object.as_deref_mut(), false)
    }

    /// One function of DROP FUNCTION.
    pub(crate) fn drop_function(&mut self, n: &mut Node, missing_ok: bool) -> Result<(), Refusal> {
        self.function_object(Some(n), missing_ok)
    }

    /// The function that a COMMENT is about.
    pub(crate) fn comment_on_function(&mut self, object: Option<&mut Box<Node>>) -> Result<(), Refusal> {
        self.function_object(object.map(|n| &mut **n), false)
    }

    fn function_object(&mut self, n: Option<&mut Node>, missing_ok: bool) -> Result<(), Refusal> {
        match n.map(|n| &mut n.node) {
            Some(Some(NodeEnum::ObjectWithArgs(f))) => self.existing_function(f, missing_ok),
            _ => Err(Refusal::internal("a function has no name")),
        }
    }

    /// A function of the module's own by its name and arguments' types; another's is missing.
    pub(crate) fn existing_function(&mut self, f: &mut ObjectWithArgs, missing_ok: bool) -> Result<(), Refusal> {
        self.may_change_functions()?;
        let catalog = self.ask.catalog;
        let own = catalog.schema.as_str();
        let Some(parts) = tree::parts(&f.objname) else {
            return Err(Refusal::internal("a function has no name"));
        };
        let name = match parts.as_slice() {
            [name] | ["pg_catalog", name] if allow::builtin_function(name) => {
                return Err(Refusal::denied("function", format!("must be owner of function {name}")));
            }
            [name] => *name,
            [schema, name] if *schema == own => *name,
            _ => return Err(missing(&parts.join("."), -1)),
        };
        if catalog.functions(name).is_empty() && catalog.closed && !missing_ok {
            return Err(missing(&parts.join("."), -1));
        }
        let qualified = vec![tree::string(own), tree::string(name)];
        f.objname = qualified;
        for n in &mut f.objargs {
            match &mut n.node {
                Some(NodeEnum::TypeName(ty)) => self.pseudo_type(ty)?,
                // `*`, of aggregates.
                _ => return Err(Refusal::construct("This form of a function's arguments")),
            }
        }
        for n in &mut f.objfuncargs {
            match &mut n.node {
                Some(NodeEnum::FunctionParameter(p)) => self.argument(p)?,
                _ => return Err(Refusal::construct("This form of a function's arguments")),
            }
        }
        Ok(())
    }

    fn argument(&mut self, p: &mut protobuf::FunctionParameter) -> Result<(), Refusal> {
        if let Some(ty) = &mut p.arg_type {
            // In PostgreSQL's words, which has no quotes around an argument's type.
            self.pseudo_type(ty).map_err(|refusal| match refusal.sqlstate {
                "42704" => Refusal {
                    message: refusal.message.replace('"', ""),
                    ..refusal
                },
                _ => refusal,
            })?;
        }
        let before = std::mem::replace(&mut self.keeps, Keeps::NOTHING);
        self.plain_opt(p.defexpr.as_mut(), &Scope::new(None))?;
        leaves_nothing(std::mem::replace(&mut self.keeps, before))
    }

    /// A type of an argument or result: any that a column may have, and some that stand for others.
    fn pseudo_type(&mut self, ty: &mut TypeName) -> Result<(), Refusal> {
        let pseudo = match tree::parts(&ty.names).as_deref() {
            Some([name] | ["pg_catalog", name]) if PSEUDO_TYPES.contains(name) => Some((*name).to_owned()),
            _ => None,
        };
        match pseudo {
            Some(name) if ty.array_bounds.is_empty() && ty.typmods.is_empty() && !ty.setof && !ty.pct_type => {
                self.seen.type_names += 1;
                ty.names = vec![tree::string("pg_catalog"), tree::string(&name)];
                Ok(())
            }
            _ => self.type_name(ty, &Scope::new(None)).map_err(Refusal::placeless),
        }
    }

    /// Whether a call is one of a function that the module made; its name is qualified then. `None` where it is not.
    pub(crate) fn own_function(&mut self, f: &mut protobuf::FuncCall) -> Result<Option<String>, Refusal> {
        let catalog = self.ask.catalog;
        let own = catalog.schema.as_str();
        let name = match tree::parts(&f.funcname).as_deref() {
            Some([name]) if !allow::builtin_function(name) => (*name).to_owned(),
            Some([schema, name]) if *schema == own => (*name).to_owned(),
            _ => return Ok(None),
        };
        // As relations that no manifest declares.
        let seen = self.ask.undeclared;
        let fits = |s: &Signature| s.takes(f.args.len());
        let known = match catalog.closed {
            true => seen && catalog.functions(&name).iter().any(fits),
            false => f.funcname.len() == 2,
        };
        if !known {
            return Ok(None);
        }
        // PostgreSQL may put the body in the call's place, but nobody says that it tells nothing of a row.
        self.needs_fences = true;
        f.funcname = vec![tree::string(own), tree::string(&name)];
        Ok(Some(name))
    }
}

/// What a CREATE FUNCTION will have made.
pub(crate) fn made(f: &protobuf::CreateFunctionStmt, ask: &Ask<'_>) -> Option<(String, Signature)> {
    let name = match tree::parts(&f.funcname).as_deref() {
        Some([name]) => (*name).to_owned(),
        Some([schema, name]) if *schema == ask.catalog.schema.as_str() => (*name).to_owned(),
        _ => return None,
    };
    let mut signature = Signature {
        arguments: 0,
        defaults: 0,
        variadic: false,
    };
    for n in &f.parameters {
        let Some(NodeEnum::FunctionParameter(p)) = &n.node else {
            return None;
        };
        match p.mode() {
            FunctionParameterMode::FuncParamOut | FunctionParameterMode::FuncParamTable => continue,
            FunctionParameterMode::FuncParamVariadic => signature.variadic = true,
            _ => {}
        }
        signature.arguments += 1;
        signature.defaults += usize::from(p.defexpr.is_some());
    }
    Some((name, signature))
}

/// Attributes that change how a function is planned and nothing else.
fn attribute(d: &DefElem) -> Result<(), Refusal> {
    let off = || !flag(d);
    match d.defname.as_str() {
        "volatility" | "strict" | "parallel" | "cost" | "rows" => Ok(()),
        // SECURITY INVOKER, NOT LEAKPROOF.
        "security" | "leakproof" if off() => Ok(()),
        "security" => Err(
            Refusal::denied("function", "permission denied: SECURITY DEFINER is not for modules")
                .hint("A function runs with its caller's rights: leave SECURITY DEFINER out."),
        ),
        "leakproof" => Err(Refusal::denied("function", "only superuser can define a leakproof function")),
        "set" => Err(
            Refusal::denied("function", "permission denied: SET is not for modules' functions")
                .hint("Leave SET out: names in the body are qualified when the function is made."),
        ),
        _ => Err(Refusal::construct("This attribute of a function")),
    }
}

/// A flag as the grammar makes one.
fn flag(d: &DefElem) -> bool {
    match d.arg.as_ref().and_then(|a| a.node.as_ref()) {
        Some(NodeEnum::Boolean(b)) => b.boolval,
        Some(NodeEnum::Integer(i)) => i.ival != 0,
        _ => true,
    }
}

fn word(d: &DefElem) -> Option<String> {
    match d.arg.as_ref().and_then(|a| a.node.as_ref()) {
        Some(NodeEnum::String(s)) => Some(s.sval.to_ascii_lowercase()),
        _ => None,
    }
}

/// The text behind AS: one, since two are a library's.
fn source(d: &DefElem) -> Result<String, Refusal> {
    match d.arg.as_ref().and_then(|a| a.node.as_ref()) {
        Some(NodeEnum::List(l)) => match l.items.as_slice() {
            [one] => tree::text_of(one)
                .map(str::to_owned)
                .ok_or_else(|| Refusal::internal("a function's body has another form")),
            _ => Err(Refusal::denied(
                "function",
                "permission denied: a library's function is not for modules",
            )),
        },
        _ => Err(Refusal::internal("a function's body has another form")),
    }
}

fn leaves_nothing(keeps: Keeps) -> Result<(), Refusal> {
    if keeps.is_empty() {
        return Ok(());
    }
    Err(Body::refuses("What outlives the transaction, or a temporary relation,"))
}

/// A name that no built-in function has, of this version or a later one.
fn free_name(name: &str) -> Result<(), Refusal> {
    if allow::builtin_function(name) || name.starts_with("pg_") {
        return Err(Refusal::construct("A function named like a built-in one").hint("Choose another name."));
    }
    Ok(())
}

/// PostgreSQL's words for a function that is not there, arguments apart.
pub(crate) fn missing(name: &str, location: i32) -> Refusal {
    Refusal::new("42883", "function", format!("function {name} does not exist")).at(location)
}
