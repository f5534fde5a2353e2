//! Budget of a request in instructions, and the comparison with it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::setting::Setting;

/// How much more than its budget a figure may be before it counts, in hundred.
const TOLERANCE: f64 = 5.0;

/// The figures that are no differences.
const TOTALS: [&str; 3] = ["stack", "proxy", "proxy_tls"];

/// Instructions of a step that are no news: a compiler moves as many from one to the next. What is
/// new shows in the totals.
const TRIFLE: i64 = 1200;

const HEAD: &str = "\
# Instructions that a request may take, by setting: counted with Rust 1.95, glibc 2.36, jemalloc 5.3 and valgrind 3.19 on an x86-64 machine
# with AVX2. `cargo bench --bench instructions` compares with them, and writes them with `-- --record`.
";

/// Instructions per request, by setting and name, in the order of their report.
pub struct Figures(Vec<(Setting, &'static str, i64)>);

impl Figures {
    pub fn new() -> Self {
        Figures(Vec::new())
    }

    pub fn add(&mut self, setting: Setting, name: &'static str, count: i64) {
        self.0.push((setting, name, count));
    }

    fn of(&self, setting: Setting) -> impl Iterator<Item = (&'static str, i64)> {
        self.0
            .iter()
            .filter(move |(of, ..)| of.name() == setting.name())
            .map(|&(_, name, count)| (name, count))
    }
}

/// Makes a budget of `figures`.
pub fn record(figures: &Figures) {
    let mut text = HEAD.to_owned();
    for setting in Setting::ALL {
        let _ = writeln!(text, "\n[{}]", setting.name());
        for (name, count) in figures.of(setting) {
            let _ = writeln!(text, "{name} = {count}");
        }
    }
    std::fs::write(path(), text).expect("a file that can be written");
}

/// The recorded budget.
pub struct Budget(BTreeMap<String, BTreeMap<String, i64>>);

impl Budget {
    pub fn read() -> Self {
        let text = std::fs::read_to_string(path()).expect("the recorded budget");
        Budget(toml::from_str(&text).expect("numbers by setting and name"))
    }

    /// Prints `figures` beside it; whether none exceeds it.
    pub fn compare(&self, figures: &Figures) -> bool {
        println!("| a request, in instructions | bare | budget | full | budget | |");
        println!("| --- | --- | --- | --- | --- | --- |");
        let (mut exceeded, mut below) = (0, 0);
        for (name, _) in figures.of(Setting::Bare) {
            let mut row = format!("| {name} ");
            let mut notes = Vec::new();
            for setting in Setting::ALL {
                let Some((_, count)) = figures.of(setting).find(|&(of, _)| of == name) else {
                    continue;
                };
                let budget = self
                    .0
                    .get(setting.name())
                    .and_then(|budgets| budgets.get(name))
                    .copied();
                let _ = write!(
                    row,
                    "| {count} | {} ",
                    budget.map(|budget| budget.to_string()).unwrap_or_default()
                );
                let note = match budget.map(|budget| beyond(name, count, budget)) {
                    None => "HAS NO BUDGET".to_owned(),
                    Some(percent) if percent > TOLERANCE => format!("EXCEEDED by {percent:.1} %"),
                    Some(percent) if percent < -TOLERANCE => format!("is {:.1} % below", -percent),
                    Some(_) => continue,
                };
                exceeded += usize::from(!note.starts_with("is"));
                below += usize::from(note.starts_with("is"));
                notes.push(format!("{} {note}", setting.name()));
            }
            println!("{row}| {} |", notes.join(", "));
        }
        if exceeded > 0 {
            println!(
                "\nToo many in {exceeded} places. callgrind shows where they go; if they are worth it, write a new budget"
            );
            println!(
                "with `cargo bench --bench instructions -- --record`, and say in the commit what they buy."
            );
        }
        if below > 0 {
            println!(
                "\nFar below the budget: {below}. Lower it with `-- --record`, so that they stay there."
            );
        }
        exceeded == 0
    }
}

/// By how much in hundred `count` is beyond `budget`; 0 for a trifle.
fn beyond(name: &str, count: i64, budget: i64) -> f64 {
    match TOTALS.contains(&name) || (count - budget).abs() > TRIFLE {
        true => 100.0 * (count - budget) as f64 / budget.abs().max(1) as f64,
        false => 0.0,
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/budget.toml")
}
