"""A Slurm of a test's own: munged, slurmctld and slurmd in a folder, beside whatever else the machine runs. Of one node, this
machine, or of several: those of hosts.py, the first of which has the controller too.

Needs root (slurmd starts its steps as who asked for them) and Debian's slurmctld, slurmd, slurm-client and munge.
"""
import os
import shutil
import socket
import subprocess
import time

from hosts import die_with_parent

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "scancel", "squeue")

# proctrack/linuxproc and task/none: nothing of the machine is configured for it. cred_expire also is how long a job that was
# queued again waits.
CONFIG = """
ClusterName=filigree
SlurmctldHost={host}({address})
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
TmpFS={folder}/tmp/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
KillWait=5
SlurmdTimeout=10
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


NODE = "NodeName={name} NodeAddr={address} CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=1000"


def missing():
    """Why no Slurm can be had here; empty: it can."""
    if os.geteuid() != 0:
        return "slurmd needs root"
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)} (deploy/install.sh --tests)" if lacking else ""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Slurm:
    def __init__(self, folder, cluster=None):
        """cluster: hosts.Hosts whose hosts are the nodes; without it this machine is the only one."""
        self.folder = folder
        self.cluster = cluster
        self.daemons = []
        self.env = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}
        os.makedirs(folder, mode=0o755)
        os.mkdir(f"{folder}/state")
        with open(f"{folder}/slurm.conf", "w", encoding="utf-8") as out:
            nodes = [(host.name, host.address) for host in cluster or []] or [(socket.gethostname(), "127.0.0.1")]
            for name, _ in nodes:
                os.makedirs(f"{folder}/spool/{name}")
                os.makedirs(f"{folder}/tmp/{name}")  # PMIx's too: nodes of one machine share /tmp
            out.write(CONFIG.format(host=nodes[0][0], address=nodes[0][1], folder=folder, controller=free_port(),
                                    daemon=free_port(),
                                    nodes="\n".join(NODE.format(name=name, address=address) for name, address in nodes)))
        with open(f"{folder}/munge.key", "wb", opener=lambda path, flags: os.open(path, flags, 0o400)) as out:
            out.write(os.urandom(1024))

    def start(self):
        at = self.folder
        self.daemon("munged", "--foreground", "--force", f"--key-file={at}/munge.key", f"--socket={at}/munge.socket",
                    f"--pid-file={at}/munge.pid", f"--log-file={at}/munge.log", f"--seed-file={at}/munge.seed")
        self.wait("munged", lambda: os.path.exists(f"{at}/munge.socket"))
        self.daemon("slurmctld", "-D", "-c", host=self.front())
        for host in self.cluster or [None]:
            self.daemon("slurmd", "-D", "-c", host=host)
        self.wait("an idle node", lambda: self.ask("sinfo", "-h", "-o", "%T").stdout.split() == ["idle"])

    def front(self):
        """Where the controller runs and jobs are submitted."""
        return self.cluster[0] if self.cluster else None

    def daemon(self, *words, host=None):
        with open(f"{self.folder}/{words[0]}{host.name if host else ''}.out", "wb") as out:
            self.daemons.append(subprocess.Popen([*self.entering(host), *words], env=self.env, stdin=subprocess.DEVNULL,
                                                 stdout=out, stderr=out, preexec_fn=die_with_parent))

    @staticmethod
    def entering(host):
        return host.enter() if host else []

    def wait(self, what, there, seconds=60):
        end = time.monotonic() + seconds
        while not there():
            if time.monotonic() > end:
                raise TimeoutError(f"no {what} within {seconds} s\n{self.logs()}")
            time.sleep(0.1)

    def ask(self, *words, env=None, timeout=120):
        return subprocess.run([*self.entering(self.front()), *words], env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=timeout)

    def job(self, number):
        """What Slurm says of a job: JobState, Restarts, ExitCode and more."""
        words = self.ask("scontrol", "show", "job", "-o", str(number)).stdout.split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def logs(self):
        text = ""
        for name in sorted(name for name in os.listdir(self.folder) if name.endswith(".log")):
            with open(f"{self.folder}/{name}", encoding="utf-8", errors="replace") as log:
                text += f"-- {name}\n{log.read()[-2000:]}\n"
        return text

    def stop(self):
        self.ask("scancel", "--user=root", "--full", "--signal=KILL")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
