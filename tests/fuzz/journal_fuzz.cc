#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "coordinator/core/core.h"
#include "coordinator/journal/journal.h"
#include "kernels/base/check.h"
#include "proto/contract/ids.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch.h"

// The files of a journal: the first four bytes say how long the file is, what follows it is its log.

namespace filigree::fuzz {
namespace {

using coordinator::Changes;
using coordinator::Journal;

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string Packed(const std::string& file, const std::string& log) {
  std::string input(4, '\0');
  for (size_t i = 0; i < 4; ++i) input[i] = static_cast<char>(file.size() >> 8 * i);
  return input + file + log;
}

Changes SomeRows(int64_t epoch) {
  const coordinator::WorkerRow worker = {"a", "a", 2, epoch, "n", coordinator::Presence::kLive, false};
  contract::JobSpec spec;
  spec.name = "job";
  coordinator::JobRow job;
  job.id = contract::JobId(spec.name, epoch);
  job.number = epoch;
  job.spec = std::make_shared<const contract::JobSpec>(spec);
  job.state = coordinator::JobState::kDone;
  job.generation = 1;
  job.data = 1;
  job.ranks = {{"a", 1}};
  Changes changes;
  changes.epoch = epoch;
  changes.workers = {worker};
  changes.jobs = {job};
  changes.commits = {{job.id, {1, 10, "0123456789abcdef"}, 0}};
  return changes;
}

}  // namespace

std::vector<std::string> Seeds() {
  const Scratch scratch;
  const std::string path = scratch / "seed.db";
  auto journal = Journal::Open(path);
  CHECK(journal.ok(), "{}", std::string(journal.status().message()));
  for (int64_t epoch = 1; epoch <= 3; ++epoch) CHECK((*journal)->Write(SomeRows(epoch)).ok());
  const std::string killed = Packed(ReadBytes(path), ReadBytes(scratch / "seed.db-wal"));
  journal->reset();
  return {Packed(ReadBytes(path), ""), killed, Packed("", "")};
}

void Try(std::string_view input) {
  static const Scratch scratch;
  const std::string path = scratch / "journal.db";
  size_t size = 0;
  for (size_t i = 0; i < 4 && i < input.size(); ++i) size |= size_t{static_cast<unsigned char>(input[i])} << 8 * i;
  const std::string_view rest = input.substr(std::min<size_t>(4, input.size()));
  for (const char* name : {"journal.db-wal", "journal.db-shm", "journal.db-journal"})
    std::filesystem::remove(scratch / name);
  scratch.Write("journal.db", rest.substr(0, size));
  if (rest.size() > size) scratch.Write("journal.db-wal", rest.substr(size));
  std::string first;
  {
    const auto journal = Journal::Open(path);
    if (!journal.ok()) return;
    first = Dump((*journal)->tables());
  }
  const auto again = Journal::Open(path);
  CHECK(again.ok() && Dump((*again)->tables()) == first, "what was taken once is not taken again");
}

}  // namespace filigree::fuzz
