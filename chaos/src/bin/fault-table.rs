//! Measures the behaviour of clients under the same faults and prints the table of FAULTS.md.
//!
//! Run by `cargo xtask fault-table`.
#![allow(clippy::expect_used, clippy::panic, reason = "a fault that cannot be made is not measured")]

#[path = "fault-table/clients.rs"]
mod clients;
#[path = "fault-table/rows.rs"]
mod rows;

use clients::Kind;

fn main() {
    actix_rt::System::new().block_on(async {
        println!("| fault | redis-actix | redis-rs ConnectionManager | redis-rs MultiplexedConnection |");
        println!("|---|---|---|---|");
        for (name, row) in rows::ROWS {
            let mut cells = Vec::new();
            for kind in [Kind::Actor, Kind::Manager, Kind::Multiplexed] {
                cells.push(row(kind).await);
            }
            println!("| {name} | {} |", cells.join(" | "));
        }
    });
}
