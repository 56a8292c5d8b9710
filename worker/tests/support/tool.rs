//! The only program in the images of the tests: `tool COMMAND [ARGUMENT...]`.
//!
//! The tests compile it with rustc, without Cargo, as a static program.

use std::io::{Read, Write};
use std::process::{Command, exit};
use std::time::Duration;

unsafe extern "C" {
    fn ptrace(request: i64, pid: i64, address: usize, data: usize) -> i64;
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let command = args.get(1).map_or("", String::as_str);
    let argument = |i: usize| args[i + 2].as_str();
    match command {
        "" => {}
        "env" => std::env::vars().for_each(|(k, v)| println!("{k}={v}")),
        "pwd" => println!("{}", std::env::current_dir().unwrap().display()),
        "exit" => exit(argument(0).parse().unwrap()),
        "abort" => std::process::abort(),
        "cat" => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).unwrap();
            std::io::stdout().write_all(&bytes).unwrap();
        }
        "read" => print!("{}", std::fs::read_to_string(argument(0)).unwrap()),
        "ids" => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let ids = status.lines().filter(|l| l.starts_with("Uid") || l.starts_with("Gid"));
            ids.for_each(|l| println!("{}", l.split('\t').nth(2).unwrap()));
        }
        "write" => {
            if let Err(e) = std::fs::write(argument(0), argument(1)) {
                eprintln!("{e}");
                exit(1);
            }
        }
        "flood" => {
            let line = [b'x'; 1000];
            for _ in 0..argument(0).parse::<u64>().unwrap() {
                std::io::stdout().write_all(&line).unwrap();
            }
        }
        "hang" => {
            println!("hanging");
            loop {
                std::thread::park();
            }
        }
        "background" => {
            Command::new("/tool").arg("hang").spawn().unwrap();
        }
        "processes" => {
            for entry in std::fs::read_dir("/proc").unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.parse::<u32>().is_ok() {
                    println!("{name}");
                }
            }
        }
        "open" => match std::fs::OpenOptions::new().write(true).open(argument(0)) {
            Ok(_) => println!("opened"),
            Err(e) => println!("{}", e.kind()),
        },
        "ptrace" => {
            // PTRACE_TRACEME: to be traced by the parent, which is always allowed without a filter.
            let result = unsafe { ptrace(0, 0, 0, 0) };
            match result {
                0 => println!("traced"),
                _ => println!("error {}", std::io::Error::last_os_error().raw_os_error().unwrap()),
            }
        }
        "tcp" => match std::net::TcpStream::connect_timeout(&argument(0).parse().unwrap(), Duration::from_secs(3)) {
            Ok(_) => println!("connected"),
            Err(e) => println!("{e}"),
        },
        other => panic!("unknown command {other}"),
    }
}
