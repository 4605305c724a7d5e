//! Small makers of parse-tree nodes, as PostgreSQL's grammar would have made them.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    self, AConst, AIndices, Alias, BoolExpr, BoolExprType, ColumnRef, FuncCall, Node, ParamRef, ResTarget, a_const,
};

pub(crate) fn node(inner: NodeEnum) -> Node {
    Node { node: Some(inner) }
}

pub(crate) fn string(text: &str) -> Node {
    node(NodeEnum::String(protobuf::String { sval: text.to_owned() }))
}

pub(crate) fn alias(name: &str) -> Alias {
    Alias {
        aliasname: name.to_owned(),
        colnames: Vec::new(),
    }
}

/// `qualifier.column`.
pub(crate) fn column(qualifier: &str, name: &str) -> Node {
    node(NodeEnum::ColumnRef(ColumnRef {
        fields: vec![string(qualifier), string(name)],
        location: -1,
    }))
}

pub(crate) fn bare_column(name: &str) -> Node {
    node(NodeEnum::ColumnRef(ColumnRef {
        fields: vec![string(name)],
        location: -1,
    }))
}

pub(crate) fn param(number: i32) -> Node {
    node(NodeEnum::ParamRef(ParamRef { number, location: -1 }))
}

pub(crate) fn null() -> Node {
    node(NodeEnum::AConst(AConst {
        isnull: true,
        location: -1,
        val: None,
    }))
}

pub(crate) fn integer(value: i32) -> Node {
    let val = Some(a_const::Val::Ival(protobuf::Integer { ival: value }));
    node(NodeEnum::AConst(AConst {
        isnull: false,
        location: -1,
        val,
    }))
}

/// A string constant.
pub(crate) fn text(value: &str) -> Node {
    let val = Some(a_const::Val::Sval(protobuf::String { sval: value.to_owned() }));
    node(NodeEnum::AConst(AConst {
        isnull: false,
        location: -1,
        val,
    }))
}

/// An output column.
pub(crate) fn target(val: Node, name: &str) -> Node {
    node(NodeEnum::ResTarget(Box::new(ResTarget {
        name: name.to_owned(),
        indirection: Vec::new(),
        val: Some(Box::new(val)),
        location: -1,
    })))
}

/// `filter AND rest`, flattened on the left as the grammar does.
pub(crate) fn and(filter: Node, rest: Option<Node>) -> Node {
    let Some(rest) = rest else { return filter };
    let mut args = match filter.node {
        Some(NodeEnum::BoolExpr(b)) if b.boolop() == BoolExprType::AndExpr => b.args,
        other => vec![Node { node: other }],
    };
    args.push(rest);
    node(NodeEnum::BoolExpr(Box::new(BoolExpr {
        xpr: None,
        boolop: BoolExprType::AndExpr as i32,
        args,
        location: -1,
    })))
}

/// `CASE WHEN condition THEN value END` (ELSE NULL), or with `ELSE false` for a guard.
pub(crate) fn case(condition: Node, value: Node, otherwise: Option<Node>) -> Node {
    let when = protobuf::CaseWhen {
        xpr: None,
        expr: Some(Box::new(condition)),
        result: Some(Box::new(value)),
        location: -1,
    };
    node(NodeEnum::CaseExpr(Box::new(protobuf::CaseExpr {
        xpr: None,
        casetype: 0,
        casecollid: 0,
        arg: None,
        args: vec![node(NodeEnum::CaseWhen(Box::new(when)))],
        defresult: otherwise.map(Box::new),
        location: -1,
    })))
}

pub(crate) fn boolean(value: bool) -> Node {
    let val = Some(a_const::Val::Boolval(protobuf::Boolean { boolval: value }));
    node(NodeEnum::AConst(AConst {
        isnull: false,
        location: -1,
        val,
    }))
}

/// `(pg_catalog.array_agg(value))[1]`: the value of the group's first row. All such aggregates of one query level meet the rows in the
/// same order, so several of them give the parts of one and the same row.
pub(crate) fn first_of_group(value: Node) -> Node {
    let call = call(["pg_catalog", "array_agg"], vec![value]);
    node(NodeEnum::AIndirection(Box::new(protobuf::AIndirection {
        arg: Some(Box::new(call)),
        indirection: vec![node(NodeEnum::AIndices(Box::new(AIndices {
            is_slice: false,
            lidx: None,
            uidx: Some(Box::new(integer(1))),
        })))],
    })))
}

/// `schema.function(args)`.
pub(crate) fn call([schema, function]: [&str; 2], args: Vec<Node>) -> Node {
    node(NodeEnum::FuncCall(Box::new(FuncCall {
        funcname: vec![string(schema), string(function)],
        args,
        funcformat: protobuf::CoercionForm::CoerceExplicitCall as i32,
        location: -1,
        ..FuncCall::default()
    })))
}

/// `value::pg_catalog.ty`.
pub(crate) fn cast(value: Node, ty: &str) -> Node {
    let ty = protobuf::TypeName {
        names: vec![string("pg_catalog"), string(ty)],
        typemod: -1,
        location: -1,
        ..protobuf::TypeName::default()
    };
    node(NodeEnum::TypeCast(Box::new(protobuf::TypeCast {
        arg: Some(Box::new(value)),
        type_name: Some(ty),
        location: -1,
    })))
}

/// The text of a `String` node.
pub(crate) fn text_of(n: &Node) -> Option<&str> {
    match &n.node {
        Some(NodeEnum::String(s)) => Some(&s.sval),
        _ => None,
    }
}

/// The parts of a dotted name.
pub(crate) fn parts(names: &[Node]) -> Option<Vec<&str>> {
    names.iter().map(text_of).collect()
}
