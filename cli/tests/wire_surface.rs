//! Pins the wire: every message, field number, type, enum value and RPC, as lines of `wire_surface.txt`.
//!
//! A line may be added. One that changes or goes away breaks programs that were built against the old
//! files. To write the file anew: `UPDATE_GOLDEN=1 cargo nextest run -p forebay-cli --test wire_surface`.

use std::path::Path;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// One line per fact, in the order of the files.
fn surface(files: &FileDescriptorSet) -> Vec<String> {
    let mut lines = Vec::new();
    for file in &files.file {
        let package = file.package();
        for message in &file.message_type {
            describe_message(&format!("{package}.{}", message.name()), message, &mut lines);
        }
        for enumeration in &file.enum_type {
            describe_enum(package, enumeration, &mut lines);
        }
        for service in &file.service {
            describe_service(package, service, &mut lines);
        }
    }
    lines
}

fn describe_message(name: &str, message: &DescriptorProto, lines: &mut Vec<String>) {
    let is_map_entry = message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry);
    lines.push(format!("message {name}{}", if is_map_entry { " (map entry)" } else { "" }));
    for field in &message.field {
        lines.push(format!("  {name} {}", describe_field(message, field)));
    }
    for nested in &message.nested_type {
        describe_message(&format!("{name}.{}", nested.name()), nested, lines);
    }
    for enumeration in &message.enum_type {
        describe_enum(name, enumeration, lines);
    }
}

/// `6 oneof content bytes raw_batch`: number, presence, type, name.
fn describe_field(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let presence = match (field.label(), field.proto3_optional(), field.oneof_index) {
        (Label::Repeated, ..) => "repeated ".to_owned(),
        (_, true, _) => "optional ".to_owned(),
        (_, _, Some(index)) => {
            let index = usize::try_from(index).expect("an index into the message's oneofs");
            format!("oneof {} ", message.oneof_decl[index].name())
        }
        _ => String::new(),
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => {
            field.type_name().trim_start_matches('.').to_owned()
        }
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    format!("{} {presence}{kind} {}", field.number(), field.name())
}

fn describe_enum(scope: &str, enumeration: &EnumDescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{scope}.{}", enumeration.name());
    lines.push(format!("enum {name}"));
    for value in &enumeration.value {
        lines.push(format!("  {name} {} {}", value.number(), value.name()));
    }
}

fn describe_service(package: &str, service: &ServiceDescriptorProto, lines: &mut Vec<String>) {
    let name = format!("{package}.{}", service.name());
    lines.push(format!("service {name}"));
    for call in &service.method {
        let stream = |streaming| if streaming { "stream " } else { "" };
        lines.push(format!(
            "  {name} {}({}{}) returns ({}{})",
            call.name(),
            stream(call.client_streaming()),
            call.input_type().trim_start_matches('.'),
            stream(call.server_streaming()),
            call.output_type().trim_start_matches('.'),
        ));
    }
}

#[test]
fn no_field_number_type_or_call_has_changed() {
    let files = FileDescriptorSet::decode(forebay_proto::v1::FILE_DESCRIPTOR_SET)
        .expect("descriptors that the build has just written");
    let found = surface(&files).join("\n") + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire_surface.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).expect("a writable source folder");
    }
    let expected = std::fs::read_to_string(&golden).expect("the golden file");
    let changed: Vec<_> =
        expected.lines().filter(|line| !found.lines().any(|l| l == *line)).collect();
    assert!(changed.is_empty(), "these are promised and gone: {changed:#?}");
    assert_eq!(found, expected, "the wire has grown; see the head of this file");
}
