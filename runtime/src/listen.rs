//! Ports that are listened on, whatever address families a node has.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, as tokio has it.
const BACKLOG: i32 = 1024;

/// Linux: the kernel has no such address family (`ipv6.disable=1`), by the number of the error.
const NO_SUCH_FAMILY: i32 = 97;

/// Listens on `address`. `[::]` takes IPv4 as well, and is `0.0.0.0` where the node has no IPv6.
///
/// # Errors
///
/// The address is in use, is not of this machine, or may not be listened on.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match open(address) {
        Err(error) if address.ip() == std::net::Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
            let instead = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            tracing::info!(%address, %instead, "this node has no IPv6");
            open(instead)
        }
        bound => bound,
    }
}

/// The family is missing as a whole, or no interface has an address of it.
fn lacks_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(NO_SUCH_FAMILY) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // A node may say otherwise for all programs (`net.ipv6.bindv6only`).
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn all_addresses_of_ipv6_are_those_of_ipv4_too() {
        let Ok(listener) = bind("[::]:0".parse().unwrap()) else { panic!("no listener") };
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let again = bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn only_a_missing_family_is_replaced() {
        for (error, lacks) in [
            (io::Error::from_raw_os_error(NO_SUCH_FAMILY), true),
            (io::ErrorKind::AddrNotAvailable.into(), true),
            (io::ErrorKind::AddrInUse.into(), false),
            (io::ErrorKind::PermissionDenied.into(), false),
        ] {
            assert_eq!(lacks_ipv6(&error), lacks, "{error}");
        }
        let elsewhere = bind("[2001:db8::1]:0".parse().unwrap());
        assert!(elsewhere.is_err(), "an address that was named is not replaced");
    }

    #[test]
    fn a_node_without_ipv6_is_listened_on_by_ipv4() {
        let listener = std::thread::spawn(|| {
            without_ipv6();
            let listener = bind("[::]:0".parse().unwrap()).unwrap();
            assert!(bind("[::1]:0".parse().unwrap()).is_err(), "an address that was named is not replaced");
            listener
        });
        let address = listener.join().unwrap().local_addr().unwrap();
        assert_eq!(address.ip(), Ipv4Addr::UNSPECIFIED);
    }

    /// Takes IPv6 from this thread, as a kernel that was booted with `ipv6.disable=1` refuses it.
    fn without_ipv6() {
        use seccompiler::{
            BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
            SeccompRule,
        };
        // Numbers of Linux: the call `socket` on x86-64 and on arm64, and AF_INET6.
        const SOCKET: i64 = if cfg!(target_arch = "x86_64") { 41 } else { 198 };
        const AF_INET6: u64 = 10;
        let is_ipv6 = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, AF_INET6).unwrap();
        let rules = [(SOCKET, vec![SeccompRule::new(vec![is_ipv6]).unwrap()])].into_iter().collect();
        let refusal = SeccompAction::Errno(NO_SUCH_FAMILY.cast_unsigned());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
    }
}
