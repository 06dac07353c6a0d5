//! Programs in other languages, which measure themselves. Each line on their standard input is `<subject> <op> <source> <size> <n>`; for each they
//! print a line with the nanoseconds that all `n` operations took.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::names;
use crate::rounds::{Source, Subject, Work};

/// A subject in one of these programs.
pub struct Peer {
    name: &'static str,
    word: &'static str,
    has_sources: bool,
    program: Rc<RefCell<Program>>,
}

impl Peer {
    /// Starts the Go program of `tests/interop`. Returns its subjects, and the versions that it prints.
    ///
    /// # Errors
    /// Returns an error if the program does not run.
    pub fn go(mut command: Command) -> Result<(Vec<Box<dyn Subject>>, String)> {
        command.arg("bench");
        Self::start(command, &[(names::GO, "kmsv2", true)])
    }

    /// Starts `tests/bench/peer.js` in Node. Returns its subjects, and the versions that it prints.
    ///
    /// # Errors
    /// Returns an error if the program does not run.
    pub fn node(command: Command) -> Result<(Vec<Box<dyn Subject>>, String)> {
        let all = [
            (names::NPM, "npm", true),
            (names::NPM_MANY, "npm-many", true),
            (names::NOBLE, "noble", false),
            (names::NODE, "node", false),
            (names::COPIED, "copied", false),
            (names::WEB_CRYPTO, "webcrypto", false),
        ];
        Self::start(command, &all)
    }

    fn start(
        command: Command,
        all: &[(&'static str, &'static str, bool)],
    ) -> Result<(Vec<Box<dyn Subject>>, String)> {
        let (program, about) = Program::start(command)?;
        let program = Rc::new(RefCell::new(program));
        let subject = |&(name, word, has_sources)| {
            Box::new(Self { name, word, has_sources, program: program.clone() }) as Box<dyn Subject>
        };
        Ok((all.iter().map(subject).collect(), about))
    }
}

impl Subject for Peer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn can(&self, work: &Work) -> bool {
        self.has_sources || work.source == Source::Counter
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        let Work { op, source, size, count: _ } = work;
        let line = format!("{} {op} {source} {size} {n}\n", self.word);
        let answer = self.program.borrow_mut().ask(&line)?;
        let nanos =
            answer.parse().with_context(|| format!("not a time in nanoseconds: {answer}"))?;
        Ok(Duration::from_nanos(nanos))
    }
}

/// A running program, killed when its last subject is dropped.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(mut command: Command) -> Result<(Self, String)> {
        let shown = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {shown}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut program = Self {
            child,
            input: input.context("no pipe")?,
            output: BufReader::new(output.context("no pipe")?),
        };
        let about = program.line().context(shown)?;
        Ok((program, about))
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        self.input.write_all(line.as_bytes())?;
        self.line()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the program ended");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The program may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
