//! The contract between host and modules, and in what another one differs from it.
//!
//! A module says in its own bytes against which contract it was built. Where that one cannot be
//! called, its author needs to know the interface, the difference and what to build with.

use std::collections::HashSet;
use std::fmt;

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{
    Function, InterfaceId, PackageId, Resolve, Type, TypeDefKind, TypeId, World, WorldItem,
};

/// The files of `wit/`, those that others need first.
const FILES: [(&str, &str); 2] = [
    ("host.wit", include_str!("../../wit/deps/host/host.wit")),
    ("module.wit", include_str!("../../wit/module.wit")),
];

/// The namespace of everything that is ours.
const OURS: &str = "tapline:";

/// A contract: this program's, or the one that a module was built against.
pub struct Contract {
    resolve: Resolve,
    /// The interfaces that matter, without versions: `tapline:module/parser`.
    interfaces: Vec<(String, InterfaceId)>,
}

/// One difference: where, and what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Without a version: `tapline:module/parser`.
    pub interface: String,
    /// In words: what the other contract has there, and what this one wants.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in `{}` {}", self.interface, self.what)
    }
}

/// Why bytes or texts tell of no contract.
#[derive(Debug, thiserror::Error)]
#[error("it does not say which contract it was built against: {what}")]
pub struct Unreadable {
    what: String,
}

impl Contract {
    /// This program's.
    ///
    /// # Errors
    /// If `wit/` was no WIT when the program was built.
    pub fn current() -> Result<Self, Unreadable> {
        Self::parse(&FILES)
    }

    /// The contract that some files make, those that others need first.
    ///
    /// # Errors
    /// If a file is no WIT.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Unreadable> {
        let (resolve, packages) = resolve(files)?;
        let all = packages.iter().flat_map(|package| &resolve.packages[*package].interfaces);
        let interfaces = all.map(|(_, id)| *id).collect::<Vec<_>>();
        Ok(Self::of(resolve, interfaces))
    }

    /// The contract that a component was built against: what it exports and imports of ours.
    ///
    /// # Errors
    /// If these are not the bytes of a component.
    pub fn of_component(bytes: &[u8]) -> Result<Self, Unreadable> {
        let decoded = decode(bytes).map_err(|error| Unreadable { what: format!("{error:#}") })?;
        let DecodedWasm::Component(resolve, world) = decoded else {
            return Err(Unreadable { what: "it is the text of a contract, packed".to_owned() });
        };
        let World { imports, exports, .. } = &resolve.worlds[world];
        let interfaces = imports.values().chain(exports.values()).filter_map(|item| match item {
            WorldItem::Interface { id, .. } => Some(*id),
            WorldItem::Function(_) | WorldItem::Type { .. } => None,
        });
        let interfaces = interfaces.collect();
        Ok(Self::of(resolve, interfaces))
    }

    fn of(resolve: Resolve, interfaces: Vec<InterfaceId>) -> Self {
        let named = interfaces.into_iter().filter_map(|id| {
            let name = resolve.id_of(id)?;
            let name = name.split_once('@').map_or(name.as_str(), |(name, _)| name).to_owned();
            name.starts_with(OURS).then_some((name, id))
        });
        let interfaces = named.collect();
        Self { resolve, interfaces }
    }

    /// What keeps a module that was built against `other` from a host that speaks this one: what
    /// the host calls and the module lacks, what the module calls and the host lacks, and
    /// whatever has another shape. More than the host calls is no difference.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        for (name, theirs) in &other.interfaces {
            let Some((_, ours)) = self.interfaces.iter().find(|(known, _)| known == name) else {
                continue;
            };
            let theirs = &other.resolve.interfaces[*theirs];
            let mut walk = Walk {
                ours: &self.resolve,
                theirs: &other.resolve,
                seen: HashSet::new(),
                found: Vec::new(),
            };
            let ours = &self.resolve.interfaces[*ours];
            for function in ours.functions.values() {
                match theirs.functions.get(&function.name) {
                    Some(other) => walk.function(function, other),
                    // A module need not use all that the host offers.
                    None if is_offered(name) => {}
                    None => walk.found.push(format!("the function `{}` is missing", function.name)),
                }
            }
            let more = theirs.functions.keys().filter(|other| !ours.functions.contains_key(*other));
            for function in more.filter(|_| is_offered(name)) {
                walk.found.push(format!("the function `{function}` is not offered here"));
            }
            let interface = name.clone();
            found.extend(
                walk.found
                    .into_iter()
                    .map(|what| Difference { interface: interface.clone(), what }),
            );
        }
        found
    }
}

/// Whether modules import an interface, rather than export it.
fn is_offered(interface: &str) -> bool {
    interface.starts_with("tapline:host/")
}

fn resolve(files: &[(&str, &str)]) -> Result<(Resolve, Vec<PackageId>), Unreadable> {
    let mut resolve = Resolve::default();
    let mut packages = Vec::new();
    for (name, text) in files {
        let package = resolve.push_source(name, text);
        packages.push(package.map_err(|error| Unreadable { what: format!("{name}: {error:#}") })?);
    }
    Ok((resolve, packages))
}

/// Two types of the two contracts, side by side.
struct Walk<'a> {
    ours: &'a Resolve,
    theirs: &'a Resolve,
    /// Types that were compared: a type that several functions use is told of once.
    seen: HashSet<(TypeId, TypeId)>,
    found: Vec<String>,
}

impl Walk<'_> {
    fn function(&mut self, ours: &Function, theirs: &Function) {
        let name = &ours.name;
        let parameters = |function: &Function| {
            function.params.iter().map(|one| (one.name.clone(), Some(one.ty))).collect::<Vec<_>>()
        };
        self.members(
            &format!("the function `{name}`"),
            "parameter",
            &parameters(ours),
            &parameters(theirs),
        );
        match (ours.result, theirs.result) {
            (Some(ours), Some(theirs)) => {
                self.types(&format!("the result of `{name}`"), ours, theirs);
            }
            (None, None) => {}
            (Some(_), None) => self.found.push(format!("the function `{name}` gives nothing back")),
            (None, Some(_)) => {
                self.found.push(format!("the function `{name}` gives something back"))
            }
        }
    }

    /// Fields, cases or parameters: names and order count, then their types.
    fn members(
        &mut self,
        whose: &str,
        kind: &str,
        ours: &[(String, Option<Type>)],
        theirs: &[(String, Option<Type>)],
    ) {
        let names = |all: &[(String, Option<Type>)]| {
            all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (known, given) = (names(ours), names(theirs));
        let lacks = known.iter().filter(|name| !given.contains(name));
        let lacks = lacks.map(|name| format!("{whose} lacks the {kind} `{name}`"));
        let more = given.iter().filter(|name| !known.contains(name));
        let more = more.map(|name| format!("{whose} has a {kind} `{name}` that is unknown here"));
        let before = self.found.len();
        self.found.extend(lacks.chain(more));
        if self.found.len() > before {
            return;
        }
        if known != given {
            self.found.push(format!("{whose} has its {kind}s in another order"));
            return;
        }
        for ((name, ours), (_, theirs)) in ours.iter().zip(theirs) {
            let place = format!("the {kind} `{name}` of {whose}");
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => self.types(&place, *ours, *theirs),
                (None, None) => {}
                (Some(_), None) => self.found.push(format!("{place} carries nothing")),
                (None, Some(_)) => self.found.push(format!("{place} carries something")),
            }
        }
    }

    fn types(&mut self, place: &str, ours: Type, theirs: Type) {
        let (ours, theirs) = (bare(self.ours, ours), bare(self.theirs, theirs));
        let (Type::Id(our), Type::Id(their)) = (ours, theirs) else {
            if ours != theirs {
                self.other(place, ours, theirs);
            }
            return;
        };
        if !self.seen.insert((our, their)) {
            return;
        }
        let kinds = (&self.ours.types[our].kind, &self.theirs.types[their].kind);
        let named = self.ours.types[our].name.as_ref();
        let whose =
            |kind: &str| named.map_or(place.to_owned(), |name| format!("the {kind} `{name}`"));
        match kinds {
            (TypeDefKind::Record(ours), TypeDefKind::Record(theirs)) => {
                let fields = |record: &wit_parser::Record| {
                    record
                        .fields
                        .iter()
                        .map(|one| (one.name.clone(), Some(one.ty)))
                        .collect::<Vec<_>>()
                };
                self.members(&whose("record"), "field", &fields(ours), &fields(theirs));
            }
            (TypeDefKind::Variant(ours), TypeDefKind::Variant(theirs)) => {
                let cases = |variant: &wit_parser::Variant| {
                    variant.cases.iter().map(|one| (one.name.clone(), one.ty)).collect::<Vec<_>>()
                };
                self.members(&whose("variant"), "case", &cases(ours), &cases(theirs));
            }
            (TypeDefKind::Enum(ours), TypeDefKind::Enum(theirs)) => {
                let cases = |all: &wit_parser::Enum| {
                    all.cases.iter().map(|one| (one.name.clone(), None)).collect::<Vec<_>>()
                };
                self.members(&whose("enum"), "case", &cases(ours), &cases(theirs));
            }
            (TypeDefKind::Tuple(ours), TypeDefKind::Tuple(theirs))
                if ours.types.len() == theirs.types.len() =>
            {
                for (ours, theirs) in ours.types.iter().zip(&theirs.types) {
                    self.types(place, *ours, *theirs);
                }
            }
            (TypeDefKind::Option(ours), TypeDefKind::Option(theirs))
            | (TypeDefKind::List(ours), TypeDefKind::List(theirs)) => {
                self.types(place, *ours, *theirs);
            }
            (TypeDefKind::Result(ours), TypeDefKind::Result(theirs))
                if (ours.ok.is_some(), ours.err.is_some())
                    == (theirs.ok.is_some(), theirs.err.is_some()) =>
            {
                for (ours, theirs) in [(ours.ok, theirs.ok), (ours.err, theirs.err)] {
                    if let (Some(ours), Some(theirs)) = (ours, theirs) {
                        self.types(place, ours, theirs);
                    }
                }
            }
            _ => self.other(place, ours, theirs),
        }
    }

    fn other(&mut self, place: &str, ours: Type, theirs: Type) {
        let (ours, theirs) = (spelled(self.ours, ours), spelled(self.theirs, theirs));
        self.found.push(format!("{place} is {theirs}, and should be {ours}"));
    }
}

/// The type behind names that were given to it.
fn bare(resolve: &Resolve, mut ty: Type) -> Type {
    while let Type::Id(id) = ty {
        match resolve.types[id].kind {
            TypeDefKind::Type(behind) => ty = behind,
            _ => break,
        }
    }
    ty
}

/// A type as WIT spells it.
fn spelled(resolve: &Resolve, ty: Type) -> String {
    let Type::Id(id) = ty else { return format!("`{}`", format!("{ty:?}").to_lowercase()) };
    let def = &resolve.types[id];
    match (&def.name, &def.kind) {
        (Some(name), kind) => format!("the {} `{name}`", kind.as_str()),
        (None, kind) => format!("a {}", kind.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract with a part of its text replaced.
    fn with(from: &str, to: &str) -> Contract {
        let [(host, host_text), (module, module_text)] = FILES;
        assert!(host_text.contains(from) || module_text.contains(from), "{from}");
        let (host_text, module_text) = (host_text.replace(from, to), module_text.replace(from, to));
        Contract::parse(&[(host, &host_text), (module, &module_text)]).unwrap()
    }

    #[track_caller]
    fn differs(from: &str, to: &str, expected: &str) {
        let found = Contract::current().unwrap().differences(&with(from, to));
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(found.iter().any(|one| one == expected), "{expected}\nis not in {found:#?}");
    }

    #[test]
    fn is_the_same_as_itself_in_any_version_and_with_more() {
        let ours = Contract::current().unwrap();
        for (from, to) in [
            ("@0.1.0", "@0.1.7"),
            ("describe: func", "describe-more: func() -> string;\n  describe: func"),
            (
                "interface validator {",
                "interface painter { paint: func(); }\ninterface validator {",
            ),
        ] {
            assert_eq!(ours.differences(&with(from, to)), [], "{to}");
        }
    }

    /// What was published, by version: files in the order of `FILES`.
    const FROZEN: [(&str, [&str; 2]); 1] = [(
        "0.1.0",
        [
            include_str!("../../wit/frozen/0.1.0/host.wit"),
            include_str!("../../wit/frozen/0.1.0/module.wit"),
        ],
    )];

    #[test]
    fn every_published_version_can_still_be_called() {
        let ours = Contract::current().unwrap();
        for (version, [host, module]) in FROZEN {
            let frozen = Contract::parse(&[("host.wit", host), ("module.wit", module)]).unwrap();
            assert_eq!(ours.differences(&frozen), [], "modules of {version} run no more");
            for (name, _) in &frozen.interfaces {
                assert!(ours.interfaces.iter().any(|(ours, _)| ours == name), "{name} is gone");
            }
        }
    }

    /// `tests/contract/grown`, on which a test of the host runs modules of the first contract.
    const GROWN: [&str; 2] = [
        include_str!("../../tests/contract/grown/deps/host/host.wit"),
        include_str!("../../tests/contract/grown/module.wit"),
    ];

    /// All that it has more than the first contract: a function that the host offers, an interface
    /// that modules may export, a world.
    const GROWTH: [(&str, &str); 4] = [
        ("@0.1.0", "@0.1.1"),
        (
            "text: string);",
            "text: string);\n\n  /// Stands for a function that a later host offers.\n  \
             enabled: func(level: level) -> bool;",
        ),
        (
            "/// Accepts or refuses messages before",
            "/// Stands for an interface that a later host asks for.\ninterface trial {\n  \
             answer: func() -> u32;\n}\n\n/// Accepts or refuses messages before",
        ),
        (
            "world validator-module {",
            "world trial-module {\n  import tapline:host/log@0.1.1;\n  export module;\n  \
             export parser;\n  export trial;\n}\n\nworld validator-module {",
        ),
    ];

    #[test]
    fn the_first_contract_grows_without_a_module_of_it_noticing() {
        let (_, first) = FROZEN[0];
        let grown = first.map(|text| {
            GROWTH.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
        });
        assert_eq!(grown, GROWN, "tests/contract/grown is the first contract and what it grew by");

        let of = |[host, module]: [&str; 2]| {
            Contract::parse(&[("host.wit", host), ("module.wit", module)]).unwrap()
        };
        let (first, grown) = (of(first), of(GROWN));
        assert_eq!(grown.differences(&first), [], "a host of 0.1.1 runs modules of 0.1.0");
        // And one of 0.1.0 those of 0.1.1 that call nothing new.
        let found = first.differences(&grown);
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, ["in `tapline:host/log` the function `enabled` is not offered here"]);
    }

    #[test]
    fn a_difference_is_told_with_its_interface_and_place() {
        differs(
            "    device: option<string>,\n    properties: properties,",
            "    properties: properties,",
            "in `tapline:module/parser` the record `message` lacks the field `device`",
        );
        differs(
            "    qos: u8,\n    /// Kept by",
            "    qos: u8,\n    size: u32,\n    /// Kept by",
            "in `tapline:module/validator` the record `message` has a field `size` that is unknown here",
        );
        differs(
            "    source: string,\n    topic: string,\n    payload",
            "    topic: string,\n    source: string,\n    payload",
            "in `tapline:module/parser` the record `message` has its fields in another order",
        );
        differs(
            "type timestamp = u64",
            "type timestamp = s64",
            "in `tapline:module/parser` the field `received-at` of the record `message` is `s64`, and should be `u64`",
        );
        differs(
            "reading(reading),",
            "reading(reading), alarm(string),",
            "in `tapline:module/parser` the variant `item` has a case `alarm` that is unknown here",
        );
        differs(
            "forget: func(id: u32);",
            "",
            "in `tapline:module/module` the function `forget` is missing",
        );
        differs(
            "forget: func(id: u32);",
            "forget: func(id: u32, now: bool);",
            "in `tapline:module/module` the function `forget` has a parameter `now` that is unknown here",
        );
        differs(
            "forget: func(id: u32);",
            "forget: func(id: u32) -> bool;",
            "in `tapline:module/module` the function `forget` gives something back",
        );
        differs(
            "write: func",
            "flush: func();\n  write: func",
            "in `tapline:host/log` the function `flush` is not offered here",
        );
        differs(
            "level: level, text: string",
            "level: string, text: string",
            "in `tapline:host/log` the parameter `level` of the function `write` is `string`, and should be the enum `level`",
        );
    }
}
