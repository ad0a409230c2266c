//! What is printed when this program panics: where, and what cannot hold a secret.

use std::any::Any;
use std::panic::{Location, set_hook};

use crate::output::tell;

/// Has a panic tell where it was, and its message only where that was written into the program as it stands.
///
/// A message that was put together while the program ran could hold anything that the program knows.
pub(crate) fn install() {
    set_hook(Box::new(|panic| tell(&words(panic.payload(), panic.location()))));
}

fn words(payload: &(dyn Any + Send), location: Option<&Location<'_>>) -> String {
    let place = location.map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let message = payload
        .downcast_ref::<&str>()
        .map_or("its message is not shown, since it could hold a secret", |message| *message);
    format!(
        "error: aiswitch has a defect, which showed at {place}\n  because: {message}\n  hint: please report it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_tells_its_place_and_nothing_that_it_was_given() {
        let secret = String::from("sk-canary-0123456789");
        let caught = |panics: fn(&str)| {
            let payload = std::panic::catch_unwind(|| panics(&secret)).expect_err("it panics");
            words(&*payload, Some(Location::caller()))
        };
        let fixed = caught(|_| panic!("a fixed text"));
        assert!(fixed.contains("panics.rs:") && fixed.contains("because: a fixed text\n"), "{fixed}");
        for given in [
            caught(|secret| panic!("{secret}")),
            caught(|secret| std::panic::panic_any(secret.to_owned())),
            caught(|secret| {
                assert!(secret.parse::<u8>().map_err(|_no_number| secret).expect("a reason") > 0);
            }),
            caught(|secret| assert_eq!(secret, "another")),
        ] {
            assert!(!given.contains(&secret) && given.contains("could hold a secret"), "{given}");
        }
    }
}
