"""Install root's helper: the one program that sudo or polkit has to allow a user who is to mount.

Without it, a plain user who mounts needs leave to run Python itself as root, which is leave for everything.
Installed, the helper stands by itself at /usr/local/libexec/pyimount-helper, root's and only root's to write,
run by /usr/bin/python3 with nothing but its standard library; 'pyimount mount' of a plain user then asks
for that path and no other. It does what it says in SECURITY.md, whoever may start it.

To be run as root, again after each upgrade of pyimount: both sides look whether they speak the same protocol.
Exit status: 0; 1 it could not be installed; 2 the arguments are wrong.
"""

import argparse
import os

from pyimount import cli
from pyimount.execution.errors import StepFailed
from pyimount.execution.helper_archive import archive, install, remove
from pyimount.execution.protocol import HELPER, PROTOCOL
from pyimount.version import __version__

POLICY = "/usr/share/polkit-1/actions/org.pyimount.helper.policy"
"""Where polkit looks for its actions."""

_ACTION = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd">
<policyconfig>
  <vendor>pyimount</vendor>
  <action id="org.pyimount.helper">
    <description>Mount the file systems in a disk image</description>
    <message>Authentication is required to mount the file systems in a disk image, read-only</message>
    <defaults>
      <allow_any>auth_admin</allow_any>
      <allow_inactive>auth_admin</allow_inactive>
      <allow_active>auth_admin_keep</allow_active>
    </defaults>
    <annotate key="org.freedesktop.policykit.exec.path">{HELPER}</annotate>
  </action>
</policyconfig>
"""

EXAMPLES = f"""examples:
  sudo pyimount install-helper             then, for sudo, one line with visudo -f /etc/sudoers.d/pyimount:
                                             %forensics ALL=(root) NOPASSWD: {HELPER}
  sudo pyimount install-helper --polkit    an action for pkexec as well: org.pyimount.helper
  sudo pyimount install-helper --remove    take both away again
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--polkit", action="store_true", help=f"install an action for pkexec too: {POLICY}")
    which.add_argument("--remove", action="store_true", help="remove what was installed")


def run(options: argparse.Namespace) -> int:
    """Install the helper, or remove it; returns the exit status."""
    if os.geteuid() != 0:
        cli.complain("this needs root: sudo pyimount install-helper")
        return 1
    try:
        if options.remove:
            for path in (HELPER, POLICY):
                if remove(path):
                    print(f"{path} is removed")
            return 0
        install(HELPER, archive(), 0o755)
        print(f"{HELPER}: version {__version__}, protocol {PROTOCOL}")
        if options.polkit:
            install(POLICY, _ACTION.encode(), 0o644)
            print(f"{POLICY}: action org.pyimount.helper")
    except StepFailed as error:
        cli.complain(str(error))
        if error.remedy:
            cli.complain(f"  {error.remedy}")
        return 1
    return 0
