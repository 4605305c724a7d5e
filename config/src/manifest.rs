//! A module's manifest: what it owns and who may see what of it.

use crate::expr::{Claim, ClaimTag, Expr};
use crate::lint_code::LintCode;
use crate::names::{ColumnRef, Ident, LoginName, ModuleName, TableRef, quote_literal};
use crate::types::ColumnType;

/// One module, validated.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The module.
    pub module: ModuleName,
    /// Its schema; by default the module's name.
    pub schema: Ident,
    /// Its tablespace's directory name, or `None` for an explicit `pg_default`.
    pub tablespace: Option<Ident>,
    /// Who may log in for it.
    pub logins: Vec<Login>,
    /// Its declared tables, in the order written (parents before children).
    pub tables: Vec<Table>,
    /// What other modules may read of it.
    pub exports: Vec<Export>,
    /// What it reads of other modules.
    pub imports: Vec<Import>,
    /// Foreign keys to what it imports.
    pub import_keys: Vec<ImportKey>,
    /// Must be `true` where a login may create functions: inside a plpgsql body only the second lock sees.
    pub accepts_second_lock_only_bodies: bool,
    /// Every predicate as it was written, for the proof that PostgreSQL reads it as the same tree.
    pub predicates: Vec<Written>,
    /// Its roles, for those who want to be told by role. Policies say already what they mean.
    pub roles: Vec<Role>,
}

/// Who somebody is, in whatever scope.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: Ident,
    /// Who has it; its columns are what it is scoped by.
    pub when: Expr,
    /// The roles that whoever has it has too.
    pub inherits: Vec<Ident>,
}

/// A predicate of the manifest beside what was made of it.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its line in the manifest.
    pub line: usize,
    /// The operator's own text.
    pub text: String,
    /// The expression read from it; [`Expr::source`] prints it in the operator's own dialect.
    pub expr: Expr,
}

/// One login of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The role name, the same on both sides.
    pub name: LoginName,
    /// What it is for.
    pub kind: LoginKind,
    /// Whether it may run DDL in the module's schema (always true of a migrator).
    pub ddl: bool,
}

/// What a login is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoginKind {
    /// Serves users; without a token it is guest.
    Runtime,
    /// Changes the schema; sees rows as a guest does.
    Migrator,
    /// The module itself: claim `service` is the module's name.
    Service,
}

/// One declared table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its qualified name.
    pub name: TableRef,
    /// Its columns, in declared order.
    pub columns: Vec<Column>,
    /// Primary key columns, possibly none.
    pub primary_key: Vec<Ident>,
    /// UNIQUE constraints, each a list of columns.
    pub unique: Vec<Vec<Ident>>,
    /// Foreign keys inside the module.
    pub foreign_keys: Vec<ForeignKey>,
    /// By what its rows are laid out in partitions, if they are.
    pub partition_by: Option<PartitionKey>,
    /// Policies; see [`crate::policy`] for how they combine.
    pub policies: Vec<Policy>,
    /// Restrictions, AND-ed to every operation (the configuration's own included).
    pub restrictions: Vec<Expr>,
    /// Columns whose values a sealed value is bound to: the primary key, then the columns this table's policies read, sorted by name,
    /// without repetition. Protected ones bind by their equality tag.
    pub bound: Vec<Ident>,
    /// Findings about the table itself (its keys, columns and restrictions) that are accepted.
    pub allow_lint: Option<Allowance>,
    /// Where its parts stand in the manifest.
    pub lines: TableLines,
}

/// `PARTITION BY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionKey {
    /// How values find their partition.
    pub strategy: PartitionStrategy,
    /// The columns, at least one; none is protected, and each is in every key of the table.
    pub columns: Vec<Ident>,
}

/// How values find their partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionStrategy {
    /// By bounds.
    Range,
    /// By lists of values of one column.
    List,
    /// By remainders of a hash.
    Hash,
}

impl PartitionStrategy {
    /// As SQL spells it.
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::Range => "RANGE",
            Self::List => "LIST",
            Self::Hash => "HASH",
        }
    }
}

/// Lines of a table's parts in its manifest, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLines {
    /// Its name.
    pub name: usize,
    /// `primary_key`; the name's where there is none.
    pub primary_key: usize,
    /// Each of [`Table::unique`], in the same order.
    pub unique: Vec<usize>,
    /// `restrict`, if it has one; it is the last of [`Table::restrictions`] then.
    pub restrict: Option<usize>,
}

/// Findings of `postern policy lint` that are accepted where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Which, without repetition.
    pub codes: Vec<LintCode>,
    /// Why; not empty.
    pub reason: String,
    /// Line in the manifest.
    pub line: usize,
}

/// One declared column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: Ident,
    /// The type that clients see.
    pub ty: ColumnType,
    /// NOT NULL.
    pub not_null: bool,
    /// How the database fills it where an INSERT does not name it.
    pub default: Option<Default>,
    /// Present where the column is stored sealed.
    pub protection: Option<Protection>,
    /// No role may read it through SQL.
    pub never: bool,
    /// Once written it cannot change.
    pub immutable: bool,
    /// What it is set to, whatever the client says.
    pub preset: Option<Preset>,
    /// Shown only where this holds, else [`Column::mask`] (from `mask_unless`, `shown_to` and policies' `hide`).
    pub shown_when: Option<Expr>,
    /// What is shown in its place, a constant in text form; NULL where absent.
    pub mask: Option<String>,
    /// Line in the manifest, for hints.
    pub line: usize,
}

/// A column default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Default {
    /// `nextval` of the column's own sequence (`bigserial`, `serial`).
    Serial,
    /// `now()`.
    Now,
    /// A literal in text form (never for a protected column in this version).
    Literal(String),
}

/// A column that is set from a claim or a constant, and that no client may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// To what.
    pub value: PresetValue,
    /// By every INSERT.
    pub insert: bool,
    /// By every UPDATE.
    pub update: bool,
}

impl Preset {
    /// As the manifest has it, with the operations.
    pub fn source(&self) -> String {
        let value = match &self.value {
            PresetValue::Claim(claim) => format!("claim.{}", claim.name()),
            PresetValue::Now => "now()".to_owned(),
            PresetValue::Literal(text) => quote_literal(text),
        };
        let on: Vec<&str> = Operation::ALL
            .into_iter()
            .filter(|o| self.applies(*o))
            .map(Operation::as_str)
            .collect();
        format!("{value} on {}", on.join(" and "))
    }

    /// Whether that operation sets it.
    pub fn applies(&self, operation: Operation) -> bool {
        match operation {
            Operation::Insert => self.insert,
            Operation::Update => self.update,
            Operation::Select | Operation::Delete => false,
        }
    }
}

/// To what a column is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresetValue {
    /// A claim, of the column's type; NULL where it is missing.
    Claim(Claim),
    /// `now()`, for a time.
    Now,
    /// A constant in text form.
    Literal(String),
}

/// How a column is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Searches it must support.
    pub search: Vec<Search>,
    /// Columns that share a tag key, so that they can be joined; the column's own name otherwise.
    pub join_group: Option<Ident>,
    /// Bound to table and column alone (needed where the table has no primary key).
    pub bind_column_only: bool,
}

impl Protection {
    /// Whether equality can be asked.
    pub fn eq(&self) -> bool {
        self.search.contains(&Search::Eq)
    }
}

/// A kind of search over a protected column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Search {
    /// Equality by keyed tag.
    Eq,
    /// Order (sealed already; the search comes later).
    Range,
    /// Substring (sealed already; the search comes later).
    Match,
}

/// A foreign key; the referenced table is the module's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Referencing columns.
    pub columns: Vec<Ident>,
    /// Referenced table.
    pub table: TableRef,
    /// Referenced columns.
    pub references: Vec<Ident>,
    /// Line in the manifest.
    pub line: usize,
}

/// Columns of a table that some modules may read; each of them must import the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The table's name in its module.
    pub table: Ident,
    /// Its columns that are shown; plain ones.
    pub columns: Vec<Ident>,
    /// Who may read them.
    pub to: Vec<ModuleName>,
    /// Which rows.
    pub rows: SharedRows,
    /// Foreign keys may refer to them.
    pub references: bool,
    /// Line in the manifest.
    pub line: usize,
}

/// The other side of an [`Export`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Whose table it is.
    pub from: ModuleName,
    /// Its name there.
    pub table: Ident,
    /// Its columns that are read.
    pub columns: Vec<Ident>,
    /// Its name here: a view in the importing module's schema.
    pub name: Ident,
    /// Which rows.
    pub rows: SharedRows,
    /// Foreign keys may refer to it.
    pub references: bool,
    /// Line in the manifest.
    pub line: usize,
}

/// Which rows of an exported table are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedRows {
    /// Those that the exporting module's own policies show to whoever asks.
    Policies,
    /// All of them, whoever asks.
    All,
}

impl SharedRows {
    /// The word in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::All => "all",
        }
    }
}

/// A foreign key of a declared table to an imported one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportKey {
    /// The referencing table, of the module's own.
    pub table: Ident,
    /// Referencing columns.
    pub columns: Vec<Ident>,
    /// The imported table's name in this module.
    pub import: Ident,
    /// Referenced columns.
    pub references: Vec<Ident>,
    /// What becomes of referring rows when the row they refer to is removed.
    pub on_delete: ReferenceAction,
    /// What becomes of them when its key changes.
    pub on_update: ReferenceAction,
    /// Line in the manifest.
    pub line: usize,
}

/// What a foreign key does when the row that is referred to goes or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferenceAction {
    /// It cannot, as long as it is referred to; looked at when the statement or the transaction ends.
    NoAction,
    /// It cannot.
    Restrict,
    /// Referring rows go or change with it.
    Cascade,
    /// They refer to nothing.
    SetNull,
}

impl ReferenceAction {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NoAction, Self::Restrict, Self::Cascade, Self::SetNull];

    /// The words in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAction => "no action",
            Self::Restrict => "restrict",
            Self::Cascade => "cascade",
            Self::SetNull => "set null",
        }
    }

    /// Whether rows of the referring module change by what another does.
    pub fn changes_rows(self) -> bool {
        matches!(self, Self::Cascade | Self::SetNull)
    }
}

/// An operation that a policy speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// SELECT, and every read that a write makes.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 4] = [Operation::Select, Operation::Insert, Operation::Update, Operation::Delete];

    /// The word in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Select => "select",
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }
}

/// One permissive policy: what it permits is OR-ed with its table's other policies for the same operation.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name within the table.
    pub name: Ident,
    /// The operations it speaks of.
    pub operations: Vec<Operation>,
    /// Rows that are there for it (SELECT, UPDATE, DELETE).
    pub using: Option<Expr>,
    /// What a written row must satisfy (INSERT, UPDATE); for UPDATE `using` serves where none is given.
    pub check: Option<Expr>,
    /// Where set, the only columns an UPDATE under this policy may assign.
    pub update_columns: Option<Vec<Ident>>,
    /// Where set, the only columns an INSERT under this policy may name; see [`Table::check`].
    pub insert_columns: Option<Vec<Ident>>,
    /// Columns that it does not show (they are in [`Column::shown_when`] already).
    pub hide: Vec<Ident>,
    /// Findings about it that are accepted.
    pub allow_lint: Option<Allowance>,
    /// Where its parts stand in the manifest.
    pub lines: PolicyLines,
}

/// Lines of a policy's parts in its manifest, from 1; of a part that is not there, the policy's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyLines {
    /// Where the policy begins.
    pub start: usize,
    /// `using`.
    pub using: usize,
    /// `check`.
    pub check: usize,
    /// `columns`.
    pub columns: usize,
    /// `insert_columns`.
    pub insert_columns: usize,
    /// `hide`, or `show`.
    pub hide: usize,
}

impl Manifest {
    /// The declared table of that bare name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|t| t.name.name.as_str() == name)
    }

    /// The import that has that name here.
    pub fn import(&self, name: &str) -> Option<&Import> {
        self.imports.iter().find(|i| i.name.as_str() == name)
    }

    /// What is exported of that table to that module.
    pub fn export(&self, table: &str, to: &ModuleName) -> Option<&Export> {
        self.exports.iter().find(|e| e.table.as_str() == table && e.to.contains(to))
    }

    /// Every equality tag of a claim that its policies ask for, by name, without repetition.
    pub fn claim_tags(&self) -> Vec<ClaimTag> {
        let mut tags: Vec<ClaimTag> = self.tables.iter().flat_map(Table::claim_tags).collect();
        tags.sort_by_key(ClaimTag::name);
        tags.dedup();
        tags
    }

    /// The role that owns the module's objects.
    pub fn owner_role(&self) -> String {
        format!("{}_owner", self.module)
    }
}

impl Table {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name.as_str() == name)
    }

    /// The equality tags of claims that its policies, restrictions and masks ask for.
    pub fn claim_tags(&self) -> Vec<ClaimTag> {
        self.predicates().flat_map(Expr::claim_tags).collect()
    }

    /// Every predicate that decides about its rows and columns: policies', restrictions and those of masks.
    pub fn predicates(&self) -> impl Iterator<Item = &Expr> {
        let policies = self.policies.iter().flat_map(|p| p.using.iter().chain(&p.check));
        let masks = self.columns.iter().filter_map(|c| c.shown_when.as_ref());
        policies.chain(&self.restrictions).chain(masks)
    }

    /// Whether any column is stored sealed.
    pub fn has_protected(&self) -> bool {
        self.columns.iter().any(|c| c.protection.is_some())
    }

    /// A qualified reference to one of its columns.
    pub fn column_ref(&self, column: &Ident) -> ColumnRef {
        ColumnRef {
            table: self.name.clone(),
            column: column.clone(),
        }
    }
}
