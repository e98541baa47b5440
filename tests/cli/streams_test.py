"""Standard streams as a shell may hand them over: closed, full, a pipe whose reader has left, something to read from."""
import json
import os
import stat
import subprocess

import program
from program import ProgramTest, run


def shell(line, *arguments):
    """bash runs `line`, in which "$0" is the program and "$1" ... are the arguments."""
    return subprocess.run(["bash", "-c", line, program.PROGRAM, *map(str, arguments)], text=True, capture_output=True,
                          timeout=300, errors="replace", check=False)


class StreamsTest(ProgramTest):
    def manifest(self, folder):
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
            return json.load(file)["content_sha256"]

    def test_prepare_does_not_need_anyone_to_listen(self):
        text = os.path.join(self.shared, "text")
        for i, streams in enumerate([">/dev/full 2>/dev/full", "<&- >&- 2>&-", "2>&1 | true; exit ${PIPESTATUS[0]}"]):
            out = os.path.join(self.folder, f"corpus-{i}")
            process = shell(f'"$0" prepare --input "$1" --vocab 300 --val-fraction 0.2 --out "$2" {streams}', text, out)
            self.assertExit(process, 0)
            self.assertEqual(self.manifest(out), self.manifest(self.data), streams)

    def test_a_run_without_streams_prints_into_no_file_of_its_own(self):
        config = self.config()
        self.assertExit(shell('"$0" train "$1" <&- >&- 2>&-', config), 0)
        steps = self.log("step")  # every line is a record
        self.assertEqual([step["step"] for step in steps], list(range(program.SMALL["run.steps"])))
        step, closed = self.state()
        self.assertExit(self.train(self.config(run__dir=os.path.join(self.folder, "second"))), 0)
        self.assertEqual((step, closed), self.state(os.path.join(self.folder, "second")))

    def test_a_result_that_did_not_arrive_is_no_success(self):
        self.assertExit(self.train(), 0)
        commands = {"encode": f"encode --data '{self.data}' --text hello", "decode": f"decode --data '{self.data}' 1 2",
                    "inspect": f"inspect '{self.run_dir}' --json", "eval": f"eval '{self.run_dir}' --json"}
        for name, command in commands.items():
            for streams in (">/dev/full", ">&-", "a pipe without a reader"):
                if streams.startswith(">"):
                    process = shell(f'"$0" {command} {streams}')
                else:
                    read, write = os.pipe()
                    os.close(read)
                    process = subprocess.run(["bash", "-c", f'exec "$0" {command}', program.PROGRAM], stdout=write,
                                             stderr=subprocess.PIPE, text=True, timeout=300, check=False)
                    os.close(write)
                    process.stdout = ""
                with self.subTest(command=name, streams=streams):
                    self.assertExit(process, 1)
                    self.assertSays(process, "standard output")

    def test_text_and_ids_come_through_pipes_and_devices(self):
        ids = run("encode", "--data", self.data, "--text", "def alpha(beta):").stdout
        for line in ('printf "def alpha(beta):" | "$0" encode --data "$1"',
                     'printf "def alpha(beta):" | "$0" encode --data "$1" -',
                     'printf "def alpha(beta):" | "$0" encode --data "$1" /dev/stdin',
                     '"$0" encode --data "$1" <(printf "def alpha(beta):")'):
            process = shell(line, self.data)
            self.assertExit(process, 0)
            self.assertEqual(process.stdout, ids, line)
        process = shell(f'"$0" decode --data "$1" --file <(echo {ids.strip()})', self.data)
        self.assertExit(process, 0)
        self.assertEqual(process.stdout, "def alpha(beta):")

    def test_two_inputs_at_once_are_refused(self):
        path = os.path.join(self.shared, "text", "module_0.py")
        for arguments in (["encode", "--data", self.data, path, "--text", "x"],
                          ["decode", "--data", self.data, "1", "--file", path]):
            process = run(*arguments)
            self.assertExit(process, 2)
            self.assertEqual(process.stdout, "")

    def test_a_report_goes_into_a_pipe_and_leaves_links_and_devices_what_they_are(self):
        self.assertExit(self.train(), 0)
        page = run("report", self.run_dir, "--out", "/dev/stdout")
        self.assertExit(page, 0)
        self.assertTrue(page.stdout.startswith("<!doctype html>"))
        self.assertTrue(page.stdout.endswith("</html>\n"))
        fifo = os.path.join(self.folder, "fifo")
        os.mkfifo(fifo)
        with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE, text=True) as reader:
            self.assertExit(run("report", self.run_dir, "--out", fifo, timeout=60), 0)
            self.assertTrue(stat.S_ISFIFO(os.stat(fifo).st_mode))
            self.assertEqual(reader.stdout.read(), page.stdout)
        target, link = (os.path.join(self.folder, name) for name in ("target.html", "link.html"))
        with open(target, "w", encoding="utf-8"):
            pass
        os.symlink(target, link)
        self.assertExit(run("report", self.run_dir, "--out", link), 0)
        self.assertTrue(os.path.islink(link))
        with open(target, encoding="utf-8") as file:
            self.assertEqual(file.read(), page.stdout)

    def test_a_folder_that_is_no_run_gets_no_report(self):
        text = os.path.join(self.shared, "text")
        process = run("report", text)
        self.assertExit(process, 3)
        self.assertSays(process, text, "run.dir")
        self.assertNotIn("report.html", os.listdir(text))


if __name__ == "__main__":
    program.main()
