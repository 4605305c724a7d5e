//! An exhaustive walk over any tree, by way of its serialisation: no field and no node kind can be forgotten, because the derive that
//! serialises the nodes is generated from PostgreSQL's own node definitions.
//!
//! Three questions are answered here: how deep is it, how many nodes of each security-relevant kind does it hold (the judge must have
//! visited exactly as many), and do two trees mean the same (their serialisations without source locations are equal).

use serde::Serialize;
use serde::ser::{self, SerializeMap, SerializeSeq, SerializeStruct};

use crate::plan::Refusal;

/// How many nodes of each kind that a judge must not overlook.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Relations.
    pub(crate) range_vars: usize,
    /// Function calls.
    pub(crate) func_calls: usize,
    /// Subqueries in expressions.
    pub(crate) sub_links: usize,
    /// Column references.
    pub(crate) column_refs: usize,
    /// Parameters.
    pub(crate) param_refs: usize,
    /// Type names.
    pub(crate) type_names: usize,
    /// Operators.
    pub(crate) operators: usize,
    /// SELECT and VALUES, set operations' arms included.
    pub(crate) selects: usize,
    /// COLLATE clauses.
    pub(crate) collations: usize,
}

impl Counts {
    /// Adds what a part holds that is not walked by itself.
    pub(crate) fn add(&mut self, part: &Counts) {
        self.range_vars += part.range_vars;
        self.func_calls += part.func_calls;
        self.sub_links += part.sub_links;
        self.column_refs += part.column_refs;
        self.param_refs += part.param_refs;
        self.type_names += part.type_names;
        self.operators += part.operators;
        self.selects += part.selects;
        self.collations += part.collations;
    }
}

/// What the final tree is checked for.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Counts.
    pub(crate) counts: Counts,
    /// Every relation: (schema, name, alias).
    pub(crate) relations: Vec<(String, String, String)>,
    /// Whether any name (constants aside) starts with the reserved prefix.
    pub(crate) reserved_name: bool,
    /// Deepest nesting of nodes.
    pub(crate) depth: usize,
    /// Where each constant was written.
    pub(crate) constants: Vec<i32>,
    /// The number of each parameter, as often as it is mentioned.
    pub(crate) params: Vec<i32>,
}

/// Refuses a tree nested deeper than `max`.
pub(crate) fn depth_within(tree: &impl Serialize, max: usize) -> Result<(), Refusal> {
    let mut walk = Walk {
        survey: Survey::default(),
        bytes: None,
        depth: 0,
        max,
        frames: Vec::new(),
    };
    match tree.serialize(&mut walk) {
        Ok(()) => Ok(()),
        Err(_) => Err(Refusal::new("54001", "size", "the statement is nested too deeply").hint("Split it into smaller ones.")),
    }
}

/// Surveys a tree.
pub(crate) fn survey(tree: &impl Serialize) -> Result<Survey, Refusal> {
    let mut walk = Walk {
        survey: Survey::default(),
        bytes: None,
        depth: 0,
        max: usize::MAX,
        frames: Vec::new(),
    };
    tree.serialize(&mut walk)
        .map_err(|_| Refusal::internal("the statement could not be surveyed"))?;
    Ok(walk.survey)
}

/// A tree's serialisation without source locations: equal for equal meaning.
pub(crate) fn shape(tree: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    let mut walk = Walk {
        survey: Survey::default(),
        bytes: Some(Vec::with_capacity(4096)),
        depth: 0,
        max: usize::MAX,
        frames: Vec::new(),
    };
    tree.serialize(&mut walk)
        .map_err(|_| Refusal::internal("the statement could not be read back"))?;
    Ok(walk.bytes.unwrap_or_default())
}

struct Walk {
    survey: Survey,
    bytes: Option<Vec<u8>>,
    depth: usize,
    max: usize,
    /// Structs that are open; a relation's parts are collected in its frame.
    frames: Vec<Frame>,
}

struct Frame {
    name: &'static str,
    field: &'static str,
    schema: String,
    relation: String,
    alias: String,
}

impl Walk {
    fn put(&mut self, tag: u8, bytes: &[u8]) {
        if let Some(out) = &mut self.bytes {
            out.push(tag);
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }

    fn enter(&mut self, name: &'static str) -> Result<(), Stop> {
        self.depth += 1;
        self.survey.depth = self.survey.depth.max(self.depth);
        if self.depth > self.max {
            return Err(Stop);
        }
        let counts = &mut self.survey.counts;
        match name {
            "RangeVar" => counts.range_vars += 1,
            "FuncCall" => counts.func_calls += 1,
            "SubLink" => counts.sub_links += 1,
            "ColumnRef" => counts.column_refs += 1,
            "ParamRef" => counts.param_refs += 1,
            "TypeName" => counts.type_names += 1,
            "AExpr" => counts.operators += 1,
            "SelectStmt" => counts.selects += 1,
            "CollateClause" => counts.collations += 1,
            _ => {}
        }
        self.put(b'{', name.as_bytes());
        self.frames.push(Frame {
            name,
            field: "",
            schema: String::new(),
            relation: String::new(),
            alias: String::new(),
        });
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.put(b'}', b"");
        let Some(frame) = self.frames.pop() else { return };
        match frame.name {
            // In FOR UPDATE OF stands an alias, not a relation.
            "RangeVar" if self.frames.iter().any(|f| f.name == "LockingClause") => {}
            "RangeVar" => self.survey.relations.push((frame.schema, frame.relation, frame.alias)),
            "Alias" => {
                // An alias is serialised inside the relation it belongs to.
                if let Some(outer) = self.frames.last_mut().filter(|f| f.name == "RangeVar" && f.field == "alias") {
                    outer.alias = frame.alias;
                }
            }
            _ => {}
        }
    }

    fn string(&mut self, v: &str) {
        self.put(b's', v.as_bytes());
        // A constant is `sval` of struct String inside AConst; a name is `sval` of a String anywhere else, or a plain field.
        let constant = match self.frames.as_slice() {
            [.., outer, f] => f.name == "String" && outer.name == "AConst",
            _ => false,
        };
        if !constant && v.len() >= 8 && v.as_bytes()[..8].eq_ignore_ascii_case(b"postern$") {
            self.survey.reserved_name = true;
        }
        if let Some(frame) = self.frames.last_mut() {
            match (frame.name, frame.field) {
                ("RangeVar", "schemaname") => frame.schema = v.to_owned(),
                ("RangeVar", "relname") => frame.relation = v.to_owned(),
                ("Alias", "aliasname") => frame.alias = v.to_owned(),
                _ => {}
            }
        }
    }

    fn is_location(field: &str) -> bool {
        field == "location"
            || field.ends_with("_location")
            || matches!(
                field,
                "stmt_len" | "rexpr_list_start" | "rexpr_list_end" | "list_start" | "list_end"
            )
    }
}

/// The walk was stopped by its bound (or met a form that protobuf nodes never take).
#[derive(Debug)]
struct Stop;

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stop {}

impl ser::Error for Stop {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Stop
    }
}

macro_rules! numbers {
    ($($method:ident: $ty:ty),*) => {
        $(fn $method(self, v: $ty) -> Result<(), Stop> {
            self.put(b'n', &v.to_le_bytes());
            Ok(())
        })*
    };
}

impl<'w> ser::Serializer for &'w mut Walk {
    type Ok = ();
    type Error = Stop;
    type SerializeSeq = &'w mut Walk;
    type SerializeTuple = ser::Impossible<(), Stop>;
    type SerializeTupleStruct = ser::Impossible<(), Stop>;
    type SerializeTupleVariant = ser::Impossible<(), Stop>;
    type SerializeMap = &'w mut Walk;
    type SerializeStruct = &'w mut Walk;
    type SerializeStructVariant = ser::Impossible<(), Stop>;

    numbers!(serialize_i8: i8, serialize_i16: i16, serialize_i64: i64, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_f32: f32, serialize_f64: f64);

    fn serialize_i32(self, v: i32) -> Result<(), Stop> {
        if self
            .frames
            .last()
            .is_some_and(|f| f.name == "ParamRef" && f.field == "number")
        {
            self.survey.params.push(v);
        }
        self.put(b'n', &v.to_le_bytes());
        Ok(())
    }

    fn serialize_bool(self, v: bool) -> Result<(), Stop> {
        self.put(b'b', &[u8::from(v)]);
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), Stop> {
        self.put(b'n', &u32::from(v).to_le_bytes());
        Ok(())
    }

    fn serialize_str(self, v: &str) -> Result<(), Stop> {
        self.string(v);
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Stop> {
        self.put(b'y', v);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Stop> {
        self.put(b'0', b"");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Stop> {
        self.put(b'1', b"");
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Stop> {
        self.put(b'0', b"");
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Stop> {
        self.enter(name)?;
        self.leave();
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Stop> {
        self.put(b'v', variant.as_bytes());
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Stop> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Stop> {
        self.put(b'v', variant.as_bytes());
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Stop> {
        self.put(b'[', &(len.unwrap_or(0) as u64).to_le_bytes());
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Stop> {
        Err(Stop)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Stop> {
        Err(Stop)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Stop> {
        Err(Stop)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Stop> {
        self.put(b'[', b"map");
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeStruct, Stop> {
        self.enter(name)?;
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Stop> {
        Err(Stop)
    }
}

impl SerializeSeq for &mut Walk {
    type Ok = ();
    type Error = Stop;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Stop> {
        self.put(b']', b"");
        Ok(())
    }
}

impl SerializeMap for &mut Walk {
    type Ok = ();
    type Error = Stop;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Stop> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Stop> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Stop> {
        self.put(b']', b"");
        Ok(())
    }
}

impl SerializeStruct for &mut Walk {
    type Ok = ();
    type Error = Stop;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Stop> {
        if Walk::is_location(key) {
            if self.frames.last().is_some_and(|f| f.name == "AConst") {
                let at = serde_json::to_value(value).ok().and_then(|v| v.as_i64());
                self.survey
                    .constants
                    .push(at.and_then(|v| i32::try_from(v).ok()).unwrap_or(-1));
            }
            return Ok(());
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.field = key;
        }
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Stop> {
        self.leave();
        Ok(())
    }
}
