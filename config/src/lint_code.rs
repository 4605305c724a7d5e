//! The findings of `postern policy lint`, by codes that stay the same: manifests name them, and so do people's scripts.

use std::fmt;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LintCode {
    /// A predicate that is TRUE for everybody and every row.
    AlwaysTrue,
    /// An update without `check` whose `using` asks nothing of the row.
    UnboundWrite,
    /// A `check` that lets a row be written which `using` no longer reaches.
    WriteOutOfReach,
    /// A UNIQUE constraint over rows that a writer may not see.
    UniqueOracle,
    /// A primary key over rows that a writer may not see.
    KeyOracle,
    /// A column that one policy hides and lets be updated.
    HiddenWritable,
    /// `columns` names a column that nobody may read.
    NeverInColumns,
    /// A column that must be filled and that no policy lets be written.
    Unwritable,
    /// A policy that adds nothing to another.
    Shadowed,
    /// A table that no identity can ever read.
    Unreadable,
    /// A policy that lets no identity do anything.
    DeadPolicy,
    /// A foreign key that tells whether a row exists which the writer may not see.
    ReferenceOracle,
    /// A foreign key that tells whether a row is referred to from one that the writer may not see.
    ReferencedOracle,
    /// A comparison by an operator that PostgreSQL does not mark LEAKPROOF.
    NotLeakproof,
    /// `allow_lint` names a code that finds nothing.
    StaleAllowance,
    /// A foreign key by which one module's statement changes another's rows.
    CascadeAcross,
}

impl LintCode {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 16] = [
        Self::AlwaysTrue,
        Self::UnboundWrite,
        Self::WriteOutOfReach,
        Self::UniqueOracle,
        Self::KeyOracle,
        Self::HiddenWritable,
        Self::NeverInColumns,
        Self::Unwritable,
        Self::Shadowed,
        Self::Unreadable,
        Self::DeadPolicy,
        Self::ReferenceOracle,
        Self::ReferencedOracle,
        Self::NotLeakproof,
        Self::StaleAllowance,
        Self::CascadeAcross,
    ];

    /// The code as it is printed and written in `allow_lint`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlwaysTrue => "P001",
            Self::UnboundWrite => "P002",
            Self::WriteOutOfReach => "P003",
            Self::UniqueOracle => "P004",
            Self::KeyOracle => "P005",
            Self::HiddenWritable => "P006",
            Self::NeverInColumns => "P007",
            Self::Unwritable => "P008",
            Self::Shadowed => "P009",
            Self::Unreadable => "P010",
            Self::DeadPolicy => "P011",
            Self::ReferenceOracle => "P012",
            Self::ReferencedOracle => "P013",
            Self::NotLeakproof => "P014",
            Self::StaleAllowance => "P015",
            Self::CascadeAcross => "P016",
        }
    }

    /// The finding of that code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == code)
    }

    /// Whether `allow_lint` may name it: what is stale is to be removed.
    pub fn allowable(self) -> bool {
        self != Self::StaleAllowance
    }
}

impl fmt::Display for LintCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
