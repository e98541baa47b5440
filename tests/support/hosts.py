"""Several machines on this one, for tests of what runs on several: each has a network, a host name, processes and mounts of
its own (Linux namespaces), and an sshd that lets the others in.

    with Hosts(2, folder) as hosts:
        hosts[0].run(["mpirun", *hosts.mpirun_options(slots=2), "hostname"])
        hosts[1].unplug()

All are joined by a bridge that stands in a namespace too: nothing of the network of this machine is changed or reached. Files
are those of this machine, so `folder` is what a shared file system is to a cluster. Keys and configuration of ssh are made in
`folder`; /etc/ssh and ~/.ssh are neither read nor written. Every namespace ends with its processes, all of which are killed by
close(), and by the kernel where the test itself is killed. Needs root, iproute2 and OpenSSH: `obstacle()` says what is missing.
"""
import ctypes
import os
import shutil
import signal
import subprocess
import time

import reports

PORT = 2222  # of every sshd, in namespaces where nobody else listens
PROGRAMS = ("unshare", "nsenter", "ip", "sshd", "ssh", "ssh-keygen")
NAMESPACES = ["--net", "--uts", "--mount", "--pid"]
# A host that does not answer is given up after seconds: where nothing is on its way to it (keepalives; 8 minutes is Open MPI's
# default) and where something is (how often the kernel sends it again; 15 minutes is Linux's default).
KEEPALIVES = ["--mca", "oob_tcp_keepalive_time", "2", "--mca", "oob_tcp_keepalive_intvl", "1",
              "--mca", "oob_tcp_keepalive_probes", "3"]
RETRIES = 4
SSHD = """
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
"""
SSH = """
Host *
  Port {port}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
"""


def find(name):
    """The path of a program, also where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def obstacle():
    """Why there can be no hosts here, in words; None: there can."""
    missing = [name for name in PROGRAMS if find(name) is None]
    if missing:
        return f"no {', '.join(missing)} (deploy/install.sh --tests)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "ip", "link", "add", "probe", "type", "veth"],
                           capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces with veth pairs here: {tried.stderr.strip()}"


def die_with_parent():
    """In a child before it becomes another program: the kernel kills it where this process ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _check(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Namespaces:
    """A process with namespaces of its own. It is their first process: all others in there end with it."""

    def __init__(self, script):
        self._unshare = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "sh", "-ec", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
        try:
            self.pid = self._child()
        except BaseException:
            self.close()
            raise

    def _child(self):
        """The process inside, born into the new namespaces."""
        parent = self._unshare.pid
        end = time.monotonic() + 10
        while time.monotonic() < end and self._unshare.poll() is None:
            with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as file:
                children = file.read().split()
            if children:
                return int(children[0])
            time.sleep(0.01)
        raise RuntimeError("no process in namespaces of its own after 10 seconds")

    def enter(self):
        """What stands before a command that is to run inside."""
        return ["nsenter", "--target", str(self.pid), *NAMESPACES, "--"]

    def close(self):
        self._unshare.kill()
        self._unshare.wait()


class Host:
    def __init__(self, number, folder, switch):
        self.number = number
        self.name = f"node{number}"
        self.address = f"10.77.0.{number + 1}"
        self._switch = switch
        self._namespaces = Namespaces(self._begin(folder))
        try:
            _check(["ip", "link", "add", "eth0", "netns", str(self._namespaces.pid), "type", "veth", "peer", "name",
                    self.name, "netns", str(switch.pid)])
            _check([*switch.enter(), "ip", "link", "set", self.name, "master", "bridge", "up"])
            for words in (["addr", "add", f"{self.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                          ["link", "set", "lo", "up"]):
                _check([*self.enter(), "ip", *words])
        except BaseException:
            self.close()
            raise

    def _begin(self, folder):
        """Name, /etc/hosts, a /run of its own; then sshd, as soon as its address is there."""
        config = os.path.join(folder, f"sshd_config_{self.name}")
        with open(config, "w", encoding="utf-8") as out:
            out.write(SSHD.format(port=PORT, address=self.address, folder=folder))
        return f"""
            echo {self.name} > /proc/sys/kernel/hostname
            echo {RETRIES} > /proc/sys/net/ipv4/tcp_retries2
            mount --bind '{folder}/hosts' /etc/hosts
            mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd
            until ip -o addr show dev eth0 2>/dev/null | grep -q '{self.address}/'; do sleep 0.02; done
            exec {find("sshd")} -D -f '{config}' -E '{folder}/sshd_{self.name}.log'
        """

    def enter(self):
        return self._namespaces.enter()

    def run(self, command, **options):
        """subprocess.run on this host, standard input closed, output as text."""
        return subprocess.run([*self.enter(), *map(str, command)], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, errors="replace", check=False, **options)

    def start(self, command, **options):
        """subprocess.Popen on this host."""
        return subprocess.Popen([*self.enter(), *map(str, command)], stdin=subprocess.DEVNULL, text=True,
                                preexec_fn=die_with_parent, **options)

    def processes(self, name):
        """Process ids, as this machine counts them, of the programs of that name on this host; none where it is closed."""
        try:
            inside = os.readlink(f"/proc/{self._namespaces.pid}/ns/pid")
        except OSError:
            return []
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/comm", encoding="utf-8") as comm:
                    if comm.read().strip() == name and os.readlink(f"/proc/{entry}/ns/pid") == inside:
                        found.append(int(entry))
            except OSError:
                pass  # it has ended
        return found

    def unplug(self):
        """The network is gone, as with a pulled cable: nobody is told."""
        _check([*self._switch.enter(), "ip", "link", "set", self.name, "down"])

    def lose_messages_to(self, other):
        """Half of a partition: this host hears `other` and is not heard by it. What it sends goes to an address of the network
        that nobody has."""
        _check([*self.enter(), "ip", "neigh", "replace", other.address, "lladdr", "02:00:00:00:00:ff", "dev", "eth0", "nud",
                "permanent"])

    def plug(self):
        """The cable is back."""
        _check([*self._switch.enter(), "ip", "link", "set", self.name, "up"])

    def reach(self, other):
        """What this host sends to `other` arrives again."""
        _check([*self.enter(), "ip", "neigh", "del", other.address, "dev", "eth0"])

    def limit(self, rate, burst=1 << 18):
        """What this host sends leaves at `rate` (tc's words: "1gbit") at most, in bursts of so many bytes: less than what the
        kernel sends at once makes it slower than that."""
        _check([*self.enter(), "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate, "burst", str(burst),
                "latency", "50ms"])

    def close(self):
        """All processes are killed at once; whoever is connected to them is told."""
        self._namespaces.close()


class Hosts:
    """`count` hosts node0, node1, ... that reach each other. Index it for a Host."""

    def __init__(self, count, folder):
        self.folder = folder
        self._hosts = []
        self._switch = Namespaces("exec sleep infinity")
        try:
            _check([*self._switch.enter(), "ip", "link", "add", "bridge", "type", "bridge"])
            _check([*self._switch.enter(), "ip", "link", "set", "bridge", "up"])
            self._write_files(count)
            for number in range(count):
                self._hosts.append(Host(number, folder, self._switch))
            self._wait_for_sshd()
        except BaseException:
            self.close()
            raise

    def _write_files(self, count):
        def write(name, text):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as out:
                out.write(text)

        for key in ("host_key", "user_key"):
            _check(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(self.folder, key)])
        with open(os.path.join(self.folder, "host_key.pub"), encoding="utf-8") as file:
            public = " ".join(file.read().split()[:2])
        addresses = [(f"10.77.0.{number + 1}", f"node{number}") for number in range(count)]
        write("hosts", "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for address, name in addresses))
        write("known_hosts", "".join(f"[{name}]:{PORT},[{address}]:{PORT} {public}\n" for address, name in addresses))
        write("ssh_config", SSH.format(port=PORT, folder=self.folder))

    def ssh(self):
        return ["ssh", "-F", os.path.join(self.folder, "ssh_config")]

    def _wait_for_sshd(self):
        for host in self._hosts:
            end = time.monotonic() + 20
            while (tried := self._hosts[0].run([*self.ssh(), host.name, "hostname"])).returncode != 0:
                if time.monotonic() > end:
                    raise RuntimeError(f"ssh does not reach {host.name}: {tried.stderr}")
                time.sleep(0.05)
            if tried.stdout.strip() != host.name:
                raise RuntimeError(f"{host.name} calls itself {tried.stdout.strip()}")

    def mpirun_options(self, slots):
        """For Open MPI's mpirun on any of the hosts: so many ranks on each, messages between all ranks over the network."""
        path = os.path.join(self.folder, f"hostfile{slots}")
        with open(path, "w", encoding="utf-8") as out:
            out.writelines(f"{host.name} slots={slots}\n" for host in self._hosts)
        return ["--hostfile", path, "-n", str(slots * len(self._hosts)), "--mca", "plm_rsh_agent", " ".join(self.ssh()),
                "--mca", "pml", "ob1", "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "eth0",
                "--mca", "oob_tcp_if_include", "eth0", *KEEPALIVES, "--mca", "mpi_yield_when_idle", "1",
                "--bind-to", "none", "--allow-run-as-root", *(word for name in reports.OPTIONS for word in ("-x", name))]

    def __getitem__(self, number):
        return self._hosts[number]

    def __iter__(self):
        return iter(self._hosts)

    def __len__(self):
        return len(self._hosts)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for host in self._hosts:
            host.close()
        self._switch.close()
