//! The same connections by the kernel's TCP, for comparison.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::machine;

/// Addresses that clients connect to in turn: each has ports of its own in TIME-WAIT.
const ADDRESSES: u64 = 64;

/// Processor time of one end of a connection with 64 bytes each way, SYN to FIN, the client closing
/// first, over the loopback interface; in cycles of the time-stamp counter, the mean of `count`.
///
/// One thread is client and server, so that nobody waits, nothing is woken and no readiness is asked
/// for: the kernel's stack, its system calls and nothing else. What both ends take is halved.
///
/// # Errors
/// A socket that cannot be had.
pub fn cycles_per_connection(count: u64) -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let connection = |number: u64| -> io::Result<()> {
        let mut bytes = [7; 64];
        let address = Ipv4Addr::new(127, 0, 1, (number % ADDRESSES) as u8);
        let mut client = TcpStream::connect((address, port))?;
        let (mut server, _) = listener.accept()?;
        client.write_all(&bytes)?;
        server.read_exact(&mut bytes)?;
        server.write_all(&bytes)?;
        client.read_exact(&mut bytes)?;
        drop(client);
        // The client's FIN.
        if server.read(&mut bytes)? != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    };
    (0..count / 10).try_for_each(connection)?;
    let before = machine::thread_nanos();
    (0..count).try_for_each(connection)?;
    let nanos = machine::thread_nanos() - before;
    Ok(nanos as f64 * machine::cycles_per_nano() / count as f64 / 2.0)
}
