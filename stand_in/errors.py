"""What can keep a stack from starting or going on. The command line prints the message and exits with 1.

StackError
├── SettingsRefused     local.settings.json cannot be used as it is
├── PortInUse           somebody else listens where a service should
├── StateFolderInUse    another stack keeps its state there
├── ServiceFailed       a service did not start
└── ServiceKeepsDying   a service died too often for restarting to be of use
"""


class StackError(Exception):
    """This happened: the stack cannot run. The message says what would have been right."""


class SettingsRefused(StackError):
    """This happened: the app's local settings cannot be used as they are."""


class PortInUse(StackError):
    """This happened: a port that a service needs is taken."""


class StateFolderInUse(StackError):
    """This happened: another stack keeps its state in this folder."""


class ServiceFailed(StackError):
    """This happened: a service ended, or stayed silent, before it was ready."""


class ServiceKeepsDying(StackError):
    """This happened: a service died too often within a minute."""
