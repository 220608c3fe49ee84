//! Connections of HTTP/2 as the kernel side tells them.

mod alike;
mod connections;
mod differential;
mod loss;
mod malformed;
mod messages;
mod peers;
mod recorded;
mod torture;
mod wire;
