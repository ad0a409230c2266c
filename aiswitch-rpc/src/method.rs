//! A method is known by its name and the types of its params and result.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A request method: a marker type that ties the name to the types.
///
/// `Params` must be written as an array, an object, or nothing (`()`).
///
/// ```
/// struct Add;
/// impl aiswitch_rpc::RequestMethod for Add {
///     const NAME: &'static str = "add";
///     type Params = (i64, i64);
///     type Result = i64;
/// }
/// ```
pub trait RequestMethod: 'static {
    /// The name on the wire.
    const NAME: &'static str;
    /// What the caller sends.
    type Params: Serialize + DeserializeOwned + Send + Sync;
    /// What the callee answers.
    type Result: Serialize + DeserializeOwned + Send;
}

/// A notification method: a marker type that ties the name to the type of the params.
pub trait NotificationMethod: 'static {
    /// The name on the wire.
    const NAME: &'static str;
    /// What is sent; nothing comes back.
    type Params: Serialize + DeserializeOwned + Send + Sync;
}
