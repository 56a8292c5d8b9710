//! Secrets in the environment of the process.

use std::ffi::CString;

/// Takes the value of an environment variable: reads it, overwrites it in the memory that the kernel shows as
/// `/proc/PID/environ`, and removes the variable, so that no child process inherits it.
///
/// A variable that is not set, or not UTF-8, is `None`. It is removed all the same.
///
/// # Safety
/// Nothing else may read or change the environment meanwhile, and no pointer into it may be in use. So this belongs at
/// the start of `main`, before there is a second thread.
pub unsafe fn take_variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    let c_name = CString::new(name).ok()?;
    // SAFETY: the caller guarantees that nothing else uses the environment. `getenv` returns null or a text that ends
    // with a zero byte; the bytes before that are overwritten, and the variable is removed at once.
    unsafe {
        let text = libc::getenv(c_name.as_ptr());
        if !text.is_null() {
            for offset in 0..libc::strlen(text) {
                text.add(offset).write_volatile(0);
            }
        }
        std::env::remove_var(name);
    }
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_variable_is_gone_from_the_process_and_from_what_the_kernel_shows() {
        const CHILD: &str = "TAKE_VARIABLE_TEST_CHILD";
        const SECRET: &str = "TAKE_VARIABLE_TEST_SECRET";
        if std::env::var_os(CHILD).is_none() {
            // In a process of its own, whose environment the kernel has set up.
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "environment::tests::a_taken_variable_is_gone_from_the_process_and_from_what_the_kernel_shows",
                ])
                .env(CHILD, "1")
                .env(SECRET, "hunter-two")
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let shown = || String::from_utf8_lossy(&std::fs::read("/proc/self/environ").unwrap()).into_owned();
        assert!(shown().contains("hunter-two"));
        // SAFETY: the only test of this process; the harness does not use the environment while a test runs.
        let taken = unsafe { take_variable(SECRET) };
        assert_eq!(taken.as_deref(), Some("hunter-two"));
        assert!(std::env::var_os(SECRET).is_none());
        assert!(!shown().contains("hunter-two"));
        // SAFETY: as above.
        assert_eq!(unsafe { take_variable(SECRET) }, None);
    }
}
