"""`filigree train` as processes that meet in a folder, started by hand: the bits of one process, and what becomes of a
run when ranks are killed or stopped: those who are left go on in the same processes and end in the same bits."""
import os
import random
import signal
import socket
import subprocess
import time

import program
from program import ProgramTest, main, patience
from ranks import Ranks

SEED = 20260119  # of the steps at which ranks are lost
SPARSE_START = {"sparsity__regime": "active", "sparsity__density_start": "1/4", "sparsity__embedding_density_start": "1/2",
                "sparsity__density": "1/8", "sparsity__embedding_density": "1/4", "sparsity__candidates": 1.5,
                "sparsity__refresh_every": 3}
LOST = 4  # exit code


class GlooTest(ProgramTest):
    def start(self, count, *arguments, env=None, env_of=None):
        return Ranks(count, [program.PROGRAM, "train", *map(str, arguments)],
                     env={"FILIGREE_HOST": "127.0.0.1", **(env or {})}, env_of=env_of, stdout=subprocess.PIPE,
                     stderr=subprocess.PIPE, text=True, errors="replace")

    def ranks(self, count, *arguments, **environments):
        """Exit codes and what each rank said, stdout and stderr together."""
        codes, outputs = self.start(count, *arguments, **environments).wait(timeout=patience(150))
        return codes, ["".join(output) for output in outputs]

    def alone(self, **changes):
        folder = os.path.join(self.folder, "alone" + "".join(changes))
        if not os.path.exists(folder):
            self.assertExit(self.train(self.config("alone.toml", run__dir=folder, **changes)), 0)
        return self.state(folder)

    def assertCodes(self, codes, expected, said):
        self.assertEqual(codes, expected, "\n---\n".join(text[-1500:] for text in said))

    def config_of_ranks(self, **changes):
        return self.config(**{"run__threads": 1, "parallel__backend": "gloo", **changes})

    def test_ranks_end_in_the_bits_of_one_and_speak_once(self):
        for count, tensor, regime in ((2, 1, {}), (4, 2, SPARSE_START)):
            with self.subTest(ranks=count, tensor=tensor):
                self.folder = os.path.join(self.folder, f"{count}")
                os.makedirs(self.folder)
                self.run_dir = os.path.join(self.folder, "run")
                codes, said = self.ranks(count, self.config_of_ranks(model__tensor_groups=2, **regime),
                                         f"--parallel.tensor={tensor}")
                self.assertCodes(codes, [0] * count, said)
                self.assertEqual(self.state(), self.alone(model__tensor_groups=2, **regime))
                self.assertIn(f"{count} ranks ({count // tensor} data x {tensor} tensor) over gloo", said[0])
                self.assertIn("done after 12 of 12 steps", said[0])
                self.assertEqual(said[1:], [""] * (count - 1))

    def lose(self, rank, fault, count=3, arguments=(), **changes):
        """A run of which one rank is hit; exit codes, what was said, and its final state."""
        config = self.config_of_ranks(parallel__stuck_after=1, **changes)
        return self.ranks(count, config, *arguments, env={"FILIGREE_FAULT": fault, "FILIGREE_FAULT_RANK": str(rank)})

    def test_ranks_of_one_model_decide_alike_about_a_loss_that_one_of_them_miscalculated(self):
        changes = {"model__tensor_groups": 2, "run__steps": 24, **SPARSE_START}
        codes, said = self.lose(1, "huge:loss:20", count=2, arguments=("--parallel.tensor=2",), **changes)
        self.assertCodes(codes, [0, 0], said)
        self.assertTrue("step 20: the loss jumped to" in said[0], said[0][-1500:])
        self.assertEqual(self.state(), self.alone(**changes))

    def test_after_the_loss_of_a_rank_the_others_go_on_to_the_same_bits(self):
        rng = random.Random(SEED)
        phases = ["data", "forward", "exchange", "optimizer", "topk", "log"]
        regimes = {"active": SPARSE_START, "exact": {}}
        moments = [(rank, rng.choice(phases), rng.randrange(5, 11), regime)
                   for rank, regime in ((1, "active"), (1, "exact"), (0, "active"))]
        # overlap: while some gradients are with the others and backward is still at work on the rest.
        moments += [(1, "overlap", rng.randrange(5, 11), "active"), (0, "overlap", rng.randrange(5, 11), "exact")]
        # The last save, and the evaluation before it, which is over the whole split.
        last = [(2, "checkpoint", 11, "exact"), (2, "checkpoint", 11, "active"), (1, "log", 11, "active"),
                (0, "evaluation", 12, "active")]
        for rank, phase, step, regime in [*moments, *last]:
            with self.subTest(rank=rank, phase=phase, step=step, regime=regime):
                print(f"rank {rank} is killed in {phase} of step {step}, {regime} regime", flush=True)
                self.run_dir = os.path.join(self.folder, f"run{rank}{phase}{regime}")
                beside = {"parallel__overlap": "on"} if phase == "overlap" else {}
                codes, said = self.lose(rank, f"kill:{phase}:{step}", **regimes[regime], **beside)
                self.assertCodes(codes, [-signal.SIGKILL if r == rank else 0 for r in range(3)], said)
                first = 1 if rank == 0 else 0
                self.assertIn(f"rank {rank} on ", said[first])
                self.assertIn("going on as generation 1: 2 ranks (2 data x 1 tensor) over gloo", said[first])
                self.assertEqual(sum("going on as" in text for text in said), 1)
                # All who are left hold the same state, and nothing is computed twice; in the exact regime moments are
                # gone with their owner.
                from_memory = regime == "active"
                self.assertIn("note: ranks were lost; going on at step" if from_memory else "resumed from", said[first])
                self.assertIn("done after 12 of 12 steps", said[first])
                self.assertEqual(self.state(), self.alone(**regimes[regime]))
                self.assertEqual([record["step"] for record in self.log("step")], list(range(12)))
                self.assertEqual([record["step"] for record in self.log("eval")], [6, 12])

    def test_ranks_that_only_lose_each_other_do_not_leave_the_rest_waiting(self):
        # Their connections alone break: all processes live, and those of the other pair wait in a group that is whole.
        codes, said = self.lose(1, "cut:tensor:7", count=4, arguments=["--parallel.tensor=2"], model__tensor_groups=2,
                                **SPARSE_START)
        self.assertCodes(codes, [0] * 4, said)
        self.assertIn("connections were cut on request", said[0])
        self.assertIn("going on as generation 1: 4 ranks (2 data x 2 tensor)", said[0])
        self.assertEqual(self.state(), self.alone(model__tensor_groups=2, **SPARSE_START))

    def test_a_rank_that_hangs_is_left_behind_at_once(self):
        # Its other threads live, and would have it counted among those that are left, who would wait for it; the first rank
        # also has the lock of the folder.
        for rank in (0, 1):
            with self.subTest(rank=rank):
                self.run_dir = os.path.join(self.folder, f"hang{rank}")
                begin = time.monotonic()
                codes, said = self.lose(rank, "hang:forward:7", **SPARSE_START)
                seconds = time.monotonic() - begin
                self.assertCodes(codes, [4 if r == rank else 0 for r in range(3)], said)
                self.assertIn(f"rank {rank} on ", said[rank])
                self.assertIn("going on as generation 1: 2 ranks", said[1 if rank == 0 else 0])
                self.assertEqual(self.state(), self.alone(**SPARSE_START))
                print(f"rank {rank} hangs: all over after {seconds:.1f} s", flush=True)

    def test_one_rank_after_another_is_lost_until_one_is_left(self):
        config = self.config_of_ranks(parallel__stuck_after=1)
        faults = {1: {"FILIGREE_FAULT": "kill:optimizer:6", "FILIGREE_FAULT_RANK": "1"},
                  2: {"FILIGREE_FAULT": "kill:forward:9", "FILIGREE_FAULT_RANK": "2"}}
        codes, said = self.ranks(3, config, env_of=faults)
        self.assertCodes(codes, [0, -signal.SIGKILL, -signal.SIGKILL], said)
        self.assertIn("going on as generation 1: 2 ranks", said[0])
        self.assertIn("going on as generation 2: 1 ranks", said[0])
        self.assertEqual(self.state(), self.alone())

    def test_ranks_that_share_a_model_keep_its_size_and_the_odd_one_idles(self):
        # Two pairs: the one that is whole has all of the state. The first rank leaves log and lock to another.
        for regime in ({}, SPARSE_START):
            with self.subTest(regime=regime):
                self.run_dir = os.path.join(self.folder, f"run{len(regime)}")
                codes, said = self.lose(1, "kill:exchange:7", count=4, arguments=["--parallel.tensor=2"],
                                        model__tensor_groups=2, **regime)
                self.assertCodes(codes, [0, -signal.SIGKILL, 0, 0], said)
                self.assertIn("going on as generation 1: 2 ranks (1 data x 2 tensor)", said[2])
                self.assertIn("ranks were lost; going on at step 7 from the state that the others have", said[2])
                self.assertIn("process 0 idles: generation 1 goes on with 2 ranks", said[0])
                self.assertEqual(self.state(), self.alone(model__tensor_groups=2, **regime))
                self.assertEqual([record["step"] for record in self.log("step")], list(range(12)))

    def test_a_newcomer_takes_over_the_state_that_other_ranks_have(self):
        # Three pairs share a model. The last rank is lost, and its partner idles while the others go on from memory. Then
        # the first rank of all is lost: the idle one comes back, another changes its place, and those who were there have
        # together what four need. At most a step is computed twice, and the log has every step once.
        rng = random.Random(SEED + 1)
        step = rng.choice([5, 6])  # the checkpoints are those of 4 and 8
        kills = {5: f"kill:forward:{step}", 0: f"kill:{rng.choice(['forward', 'exchange'])}:{step + 1}"}
        print(kills, flush=True)
        faults = {rank: {"FILIGREE_FAULT": fault, "FILIGREE_FAULT_RANK": str(rank)} for rank, fault in kills.items()}
        config = self.config_of_ranks(model__tensor_groups=2, parallel__stuck_after=1, **SPARSE_START)
        codes, said = self.ranks(6, config, "--parallel.tensor=2", env_of=faults)
        self.assertCodes(codes, [-signal.SIGKILL, 0, 0, 0, 0, -signal.SIGKILL], said)
        self.assertIn("process 4 idles: generation 1 goes on with 4 ranks", said[4])
        self.assertIn(f"ranks were lost; going on at step {step} from the state that the others have", said[0])
        self.assertIn("going on as generation 2: 4 ranks (2 data x 2 tensor) over gloo", said[2])
        self.assertIn(f"newcomers take over the state of step {step + 1} that other ranks had", said[2])
        self.assertEqual(self.state(), self.alone(model__tensor_groups=2, **SPARSE_START))
        self.assertEqual([record["step"] for record in self.log("step")], list(range(12)))

    def test_moments_that_are_lost_with_their_owners_come_from_the_checkpoint(self):
        # Of two pairs those are lost who had the same place.
        faults = {rank: {"FILIGREE_FAULT": "kill:forward:6", "FILIGREE_FAULT_RANK": str(rank)} for rank in (0, 2)}
        config = self.config_of_ranks(model__tensor_groups=2, parallel__stuck_after=1, **SPARSE_START)
        codes, said = self.ranks(4, config, "--parallel.tensor=2", env_of=faults)
        self.assertCodes(codes, [-signal.SIGKILL, 0, -signal.SIGKILL, 0], said)
        self.assertIn("2 ranks (1 data x 2 tensor)", said[1])
        self.assertIn("moments that lost ranks owned are lost with them", said[1])
        self.assertIn("resumed from", said[1])
        self.assertEqual(self.state(), self.alone(model__tensor_groups=2, **SPARSE_START))

    def test_a_stopped_rank_is_left_behind_and_finds_no_way_back(self):
        started = self.start(3, self.config_of_ranks(parallel__stuck_after=1),
                             env={"FILIGREE_FAULT": "stop:optimizer:6", "FILIGREE_FAULT_RANK": "2"})
        try:
            others = [process.communicate(timeout=patience(120)) for process in started.processes[:2]]
            self.assertEqual([process.returncode for process in started.processes[:2]], [0, 0], others)
            self.assertIn("rank 2 on ", others[0][1])
            state = self.state()
            self.assertEqual(state, self.alone())
            os.kill(started.processes[2].pid, signal.SIGCONT)
            said = "".join(started.processes[2].communicate(timeout=patience(60)))
            self.assertEqual(started.processes[2].returncode, 0, said)
            self.assertIn("process 2 idles", said)
            self.assertEqual(self.state(), state)
        finally:
            started.kill()

    def test_a_rank_that_is_stopped_inside_a_save_spoils_nothing_when_it_wakes_up(self):
        # Rank 1 is stopped before it writes its share of the first checkpoint. The others begin again, rank 2 in its
        # place, save the same step and train to the end before it goes on with its own file.
        started = self.start(3, self.config_of_ranks(parallel__stuck_after=1, checkpoint__every=6, checkpoint__keep=9),
                             env={"FILIGREE_FAULT": "stop:save:0", "FILIGREE_FAULT_RANK": "1"})
        try:
            others = [started.processes[rank].communicate(timeout=patience(120)) for rank in (0, 2)]
            self.assertEqual([started.processes[rank].returncode for rank in (0, 2)], [0, 0], others)
            folder = os.path.join(self.run_dir, "checkpoints", "step-0000000006")
            before = self.state(folder)
            files = set(os.listdir(folder))
            os.kill(started.processes[1].pid, signal.SIGCONT)
            said = "".join(started.processes[1].communicate(timeout=patience(60)))
            self.assertEqual(started.processes[1].returncode, 0, said)
            self.assertTrue(set(os.listdir(folder)) - files, "it has written after all")
            self.assertEqual(self.state(folder), before)
            self.assertEqual(self.state(), self.alone())
        finally:
            started.kill()

    def test_a_stopped_rank_keeps_its_port_and_the_others_theirs(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = min(probe.getsockname()[1], 60000)
        started = self.start(3, self.config_of_ranks(parallel__stuck_after=1, telemetry__listen=f"127.0.0.1:{port}"),
                             env={"FILIGREE_FAULT": "stop:optimizer:6", "FILIGREE_FAULT_RANK": "1"})
        try:
            others = [started.processes[rank].communicate(timeout=patience(120)) for rank in (0, 2)]
            self.assertEqual([started.processes[rank].returncode for rank in (0, 2)], [0, 0], others)
            self.assertNotIn("cannot listen", others[1][1])
            self.assertEqual(self.state(), self.alone())
        finally:
            started.kill()

    def test_where_the_run_is_not_elastic_a_lost_rank_is_named_and_ends_the_job(self):
        codes, said = self.lose(1, "kill:exchange:7", arguments=["--parallel.elastic=false"])
        self.assertCodes(codes, [LOST, -signal.SIGKILL, LOST], said)
        for text in (said[0], said[2]):
            self.assertIn("rank 1 on ", text)
            self.assertIn("go on from the last checkpoint", text)

    def test_too_few_for_the_tensor_size_end_with_words(self):
        codes, said = self.lose(1, "kill:optimizer:7", count=2, arguments=["--parallel.tensor=2"], model__tensor_groups=2)
        self.assertCodes(codes, [LOST, -signal.SIGKILL], said)
        self.assertIn("too few for parallel.tensor 2", said[0])

    def test_what_a_launcher_says_wrongly_is_named(self):
        config = self.config_of_ranks()
        for wrong, words in (({"FILIGREE_RANK": "two"}, 'FILIGREE_RANK is "two"'),
                             ({"FILIGREE_RANK": "1"}, 'FILIGREE_RANK is "1": which of the ranks this process is'),
                             ({"FILIGREE_RANKS": "0"}, 'FILIGREE_RANKS is "0"'),
                             ({"FILIGREE_RANKS": ""}, "FILIGREE_RANKS is not set"),
                             ({"FILIGREE_STORE": ""}, "FILIGREE_STORE is not set"),
                             ({"FILIGREE_STORE": "/no/such/folder"}, "/no/such/folder is no folder"),
                             ({"FILIGREE_GENERATION": "a b"}, 'FILIGREE_GENERATION is "a b"')):
            with self.subTest(wrong=wrong):
                codes, said = self.ranks(1, config, env=wrong, env_of={0: wrong})
                self.assertNotEqual(codes, [0])
                self.assertIn(words, said[0])

    def test_variables_of_other_launchers_are_taken(self):
        def of(rank):
            return {"FILIGREE_RANK": "", "FILIGREE_RANKS": "", "SLURM_PROCID": str(rank), "SLURM_NTASKS": "2"}
        codes, said = self.ranks(2, self.config_of_ranks(), env_of={0: of(0), 1: of(1)})
        self.assertCodes(codes, [0, 0], said)
        self.assertEqual(self.state(), self.alone())


if __name__ == "__main__":
    print(f"seed {SEED}", flush=True)
    main()
