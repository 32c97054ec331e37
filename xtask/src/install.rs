//! The commands that install a server with the package manager. Pure: nothing runs here.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Apt,
    Dnf,
    Apk,
    Pacman,
    Zypper,
    Brew,
}

/// The available rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    Root,
    Sudo,
    None,
}

/// Command lines, split into words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be run first; may fail.
    pub(crate) before: Vec<Vec<String>>,
    /// To be tried in order until one succeeds.
    pub(crate) alternatives: Vec<Vec<String>>,
    /// To be run afterwards where systemd runs; may fail.
    pub(crate) no_daemon: Vec<Vec<String>>,
}

impl Manager {
    pub(crate) fn choose(exists: impl Fn(&str) -> bool) -> Option<Self> {
        [Self::Apt, Self::Dnf, Self::Apk, Self::Pacman, Self::Zypper, Self::Brew]
            .into_iter()
            .find(|manager| exists(manager.program()))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Apk => "apk",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Brew => "brew",
        }
    }

    /// The names of the package on this system, in order of preference.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Apt => &["redis-server"],
            Self::Dnf => &["redis", "valkey"],
            Self::Apk | Self::Zypper | Self::Brew => &["redis"],
            Self::Pacman => &["valkey", "redis"],
        }
    }

    fn install(self, package: &str) -> String {
        match self {
            Self::Apt => format!("apt-get install -y --no-install-recommends {package}"),
            Self::Dnf => format!("dnf install -y {package}"),
            Self::Apk => format!("apk add --no-cache {package}"),
            Self::Pacman => format!("pacman -S --noconfirm --needed {package}"),
            Self::Zypper => format!("zypper --non-interactive install {package}"),
            Self::Brew => format!("brew install {package}"),
        }
    }

    fn update(self) -> Option<&'static str> {
        match self {
            Self::Apt => Some("apt-get update"),
            Self::Pacman => Some("pacman -Sy --noconfirm"),
            // These refresh their package lists themselves.
            Self::Dnf | Self::Apk | Self::Zypper | Self::Brew => None,
        }
    }

    /// The command for a user, for messages.
    pub(crate) fn by_hand(self) -> String {
        let sudo = if self == Self::Brew { "" } else { "sudo " };
        let package = self.packages().first().copied().unwrap_or("redis");
        format!("{sudo}{} install {package}", self.program())
            .replace("apk install", "apk add")
            .replace("pacman install", "pacman -S")
    }

    /// The command lines, or `None` if the rights do not suffice.
    pub(crate) fn plan(self, rights: Rights) -> Option<Plan> {
        let sudo = match (self, rights) {
            // Needs no rights, and refuses to run as root by itself.
            (Self::Brew, _) | (_, Rights::Root) => "",
            (_, Rights::Sudo) => "sudo -n ",
            (_, Rights::None) => return None,
        };
        // Without these Debian asks questions and starts the installed server on the default port.
        let env = if self == Self::Apt { "env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 " } else { "" };
        let words = |line: String| line.split_whitespace().map(str::to_owned).collect();
        let package_command = |line: &str| words(format!("{sudo}{env}{line}"));
        let mut plan = Plan {
            before: self.update().map(package_command).into_iter().collect(),
            alternatives: self.packages().iter().map(|package| package_command(&self.install(package))).collect(),
            no_daemon: Vec::new(),
        };
        if self == Self::Apt {
            // systemd ignores RUNLEVEL.
            plan.no_daemon.push(words(format!("{sudo}systemctl disable --now redis-server")));
        }
        Some(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(commands: &[Vec<String>]) -> Vec<String> {
        commands.iter().map(|words| words.join(" ")).collect()
    }

    #[test]
    fn the_first_available_manager_is_chosen() {
        let among = |present: &'static [&'static str]| Manager::choose(move |name| present.contains(&name));
        assert_eq!(among(&[]), None);
        assert_eq!(among(&["make", "yum"]), None);
        assert_eq!(among(&["apt-get"]), Some(Manager::Apt));
        assert_eq!(among(&["dnf"]), Some(Manager::Dnf));
        assert_eq!(among(&["apk"]), Some(Manager::Apk));
        assert_eq!(among(&["pacman"]), Some(Manager::Pacman));
        assert_eq!(among(&["zypper"]), Some(Manager::Zypper));
        assert_eq!(among(&["brew"]), Some(Manager::Brew));
        // Homebrew on Linux stands beside the system's own.
        assert_eq!(among(&["brew", "apt-get"]), Some(Manager::Apt));
    }

    #[test]
    fn debian_is_updated_first_and_starts_no_daemon() -> Result<(), &'static str> {
        let plan = Manager::Apt.plan(Rights::Root).ok_or("no plan")?;
        let env = "env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1";
        assert_eq!(lines(&plan.before), [format!("{env} apt-get update")]);
        assert_eq!(
            lines(&plan.alternatives),
            [format!("{env} apt-get install -y --no-install-recommends redis-server")]
        );
        assert_eq!(lines(&plan.no_daemon), ["systemctl disable --now redis-server"]);
        let plan = Manager::Apt.plan(Rights::Sudo).ok_or("no plan")?;
        assert_eq!(lines(&plan.before), [format!("sudo -n {env} apt-get update")]);
        Ok(())
    }

    #[test]
    fn a_missing_package_falls_back_to_the_next() -> Result<(), &'static str> {
        let plan = Manager::Dnf.plan(Rights::Sudo).ok_or("no plan")?;
        assert_eq!(lines(&plan.alternatives), ["sudo -n dnf install -y redis", "sudo -n dnf install -y valkey"]);
        let plan = Manager::Pacman.plan(Rights::Root).ok_or("no plan")?;
        assert_eq!(
            lines(&plan.alternatives),
            ["pacman -S --noconfirm --needed valkey", "pacman -S --noconfirm --needed redis"]
        );
        Ok(())
    }

    #[test]
    fn without_rights_only_homebrew_installs() {
        for manager in [Manager::Apt, Manager::Dnf, Manager::Apk, Manager::Pacman, Manager::Zypper] {
            assert_eq!(manager.plan(Rights::None), None);
        }
        let plan = Manager::Brew.plan(Rights::None).unwrap_or_default();
        assert_eq!(lines(&plan.alternatives), ["brew install redis"]);
    }

    #[test]
    fn the_installation_hint_is_a_valid_command() {
        assert_eq!(Manager::Apt.by_hand(), "sudo apt-get install redis-server");
        assert_eq!(Manager::Apk.by_hand(), "sudo apk add redis");
        assert_eq!(Manager::Pacman.by_hand(), "sudo pacman -S valkey");
        assert_eq!(Manager::Brew.by_hand(), "brew install redis");
    }
}
