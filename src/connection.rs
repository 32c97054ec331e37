//! One connection to one server: what it decides (pure, with the clock as an argument), and the driver that carries it
//! out on a socket.

pub(crate) mod admission;
pub(crate) mod busy_poll;
pub(crate) mod deadline_queue;
pub(crate) mod deadline_timer;
pub(crate) mod demotion;
pub(crate) mod driver;
pub(crate) mod endpoint;
pub(crate) mod engine;
pub(crate) mod error_rate;
pub(crate) mod link_state;
pub(crate) mod liveness;
pub(crate) mod params;
pub(crate) mod request;
pub(crate) mod retry;
pub(crate) mod script_resend;
pub(crate) mod session;
pub(crate) mod verdict;
