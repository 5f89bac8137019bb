//! What wasmtime generates from `wit/`: one world with every role's interface, of which a
//! module exports two. Parameters borrow, so that lowering copies nothing on our side.

#![allow(unreachable_pub, clippy::all, clippy::pedantic)]

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package tapline:bindings;
        world every-role {
            import tapline:host/log@0.1.0;
            export tapline:module/module@0.1.0;
            export tapline:module/validator@0.1.0;
            export tapline:module/parser@0.1.0;
            export tapline:module/detector@0.1.0;
            export tapline:module/sink@0.1.0;
        }
    ",
    ownership: Borrowing { duplicate_if_necessary: true },
});
