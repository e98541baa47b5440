#include <gtest/gtest.h>

#include <future>
#include <map>

#include "tests/support/patience.h"
#include "tests/worker/comm/group.h"
#include "tests/worker/comm/numbers.h"

// What is called wrongly, and who does not answer: a Status on every rank, and nothing blocks afterwards.

namespace filigree::comm {
namespace {

using std::chrono::milliseconds;

std::vector<GroupCase> GroupsOfSeveral() {
  std::vector<GroupCase> groups = AllGroups();
  std::erase_if(groups, [](const GroupCase& group) { return group.size < 2; });
  return groups;
}

class Failure : public testing::TestWithParam<GroupCase> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Failure);
INSTANTIATE_TEST_SUITE_P(Groups, Failure, testing::ValuesIn(GroupsOfSeveral()), [](const auto& info) {
  return std::string(info.param.backend) + std::to_string(info.param.size);
});

bool Says(const absl::Status& status, const std::string& words) {
  return std::string(status.message()).find(words) != std::string::npos;
}

// Every call returns `first`, at once.
void ExpectBroken(Communicator& comm, const absl::Status& first) {
  std::vector<float> values(100'000, 1.0F);
  const Array array = ArrayOf(std::span(values));
  std::vector<int64_t> counts(static_cast<size_t>(comm.size()), 0);
  counts[comm.rank()] = array.count;
  EXPECT_EQ(comm.AllReduce(array, ReduceOp::kSum), first);
  EXPECT_EQ(comm.AllReduceAsync(array, ReduceOp::kSum).Wait(), first);
  EXPECT_EQ(comm.ReduceScatter(array, counts, array, ReduceOp::kSum), first);
  EXPECT_EQ(comm.AllGather(array, counts, array), first);
  EXPECT_EQ(comm.AllToAll(array, counts, array, counts), first);
  EXPECT_EQ(comm.Broadcast(array, 0), first);
  EXPECT_EQ(comm.Barrier(), first);
  EXPECT_EQ(comm.AllGatherStrings("x").status(), first);
  EXPECT_EQ(comm.Split(0, 0).status(), first);
}

// For a rank that is late: what the others sent in time is there; then comes why they have left.
absl::Status BarriersUntilBroken(Communicator& comm) {
  const absl::Status status = comm.Barrier();
  return status.ok() ? comm.Barrier() : status;
}

// The last rank does `odd`, the others `usual`; nobody gets through, and every message names both.
using Call = std::function<absl::Status(Communicator&)>;
void ExpectDisagreement(const GroupCase& group, const Call& usual, const Call& odd,
                        const std::vector<std::string>& words) {
  RunGroup(group, [&](Member& member) {
    member.comm->Name("test of " + std::to_string(member.rank));
    const bool last = member.rank == member.size - 1;
    const absl::Status status = last ? odd(*member.comm) : usual(*member.comm);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    for (const std::string& word : words) EXPECT_TRUE(Says(status, word)) << word << " in " << status;
    EXPECT_TRUE(Says(status, "rank " + std::to_string(member.size - 1))) << status;
    ExpectBroken(*member.comm, status);
    EXPECT_EQ(member.control->Barrier(), absl::OkStatus());
  });
}

template <typename T>
Call Reduce(int64_t count, ReduceOp op) {
  return [=](Communicator& comm) {
    std::vector<T> values(static_cast<size_t>(count));
    return comm.AllReduce(ArrayOf(std::span(values)), op);
  };
}
Call Send(int64_t count, int root) {
  return [=](Communicator& comm) {
    std::vector<float> values(static_cast<size_t>(count));
    return comm.Broadcast(ArrayOf(std::span(values)), root);
  };
}

TEST_P(Failure, RanksThatDisagree) {
  const Call sum = Reduce<float>(10, ReduceOp::kSum);
  ExpectDisagreement(GetParam(), sum, Reduce<float>(11, ReduceOp::kSum), {"of 10 float32", "of 11 float32"});
  ExpectDisagreement(GetParam(), sum, Reduce<float>(900'000, ReduceOp::kSum), {"of 10 float32", "of 900000 float32"});
  ExpectDisagreement(GetParam(), Reduce<float>(900'000, ReduceOp::kSum), sum, {"of 10 float32", "of 900000 float32"});
  ExpectDisagreement(GetParam(), sum, Reduce<int32_t>(10, ReduceOp::kSum), {"float32", "int32"});
  ExpectDisagreement(GetParam(), sum, Reduce<float>(10, ReduceOp::kMax), {"(sum)", "(max)"});
  ExpectDisagreement(GetParam(), sum, Send(10, 0),
                     {"all-reduce", "broadcast", "test of " + std::to_string(GetParam().size - 1)});
  ExpectDisagreement(GetParam(), Send(10, 0), Send(10, 1), {"from rank 0", "from rank 1"});
  ExpectDisagreement(
      GetParam(), [](Communicator& comm) { return comm.Barrier(); },
      [](Communicator& comm) { return comm.AllGatherStrings("x").status(); }, {"barrier", "strings"});
}

TEST_P(Failure, RanksOneOperationApart) {
  ExpectDisagreement(
      GetParam(), [](Communicator& comm) { return comm.Barrier(); },
      [](Communicator& comm) {
        Pending early = comm.BroadcastAsync({}, 0);
        (void)comm.Barrier();
        return early.Wait();
      },
      {"barrier", "broadcast"});
}

TEST_P(Failure, CountsThatDisagree) {
  const auto gather = [](int64_t shift) -> Call {
    return [=](Communicator& comm) {
      // As many in all, shared out differently.
      std::vector<int64_t> counts(static_cast<size_t>(comm.size()), 4);
      counts[0] += shift;
      counts[1] -= shift;
      const std::vector<float> in(static_cast<size_t>(counts[comm.rank()]));
      std::vector<float> out(counts.size() * 4);
      return comm.AllGather(ArrayOf(std::span(in)), counts, ArrayOf(std::span(out)));
    };
  };
  ExpectDisagreement(GetParam(), gather(0), gather(1), {"elements each rank has"});
}

TEST_P(Failure, AllToAllSendsWhatIsExpected) {
  RunGroup(GetParam(), [](Member& member) {
    // The last rank sends rank 0 one element more than rank 0 expects.
    std::vector<int64_t> send(static_cast<size_t>(member.size), 3), receive = send;
    if (member.rank == member.size - 1) send[0] = 4;
    const std::vector<float> in(static_cast<size_t>(3 * member.size + 1));
    std::vector<float> out(static_cast<size_t>(3 * member.size));
    const int64_t sent = 3 * member.size + (member.rank == member.size - 1 ? 1 : 0);
    absl::Status status =
        member.comm->AllToAll({in.data(), sent, ElementType::kFloat32}, send, ArrayOf(std::span(out)), receive);
    // Those between whom nothing is wrong may get through, and no further.
    if (status.ok()) status = member.comm->Barrier();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_TRUE(Says(status, "16 bytes") && Says(status, "expects 12")) << status;
    ExpectBroken(*member.comm, status);
    EXPECT_EQ(member.control->Barrier(), absl::OkStatus());
  });
}

struct WrongCall {
  Call call;
  absl::StatusCode code;
  std::string words;
};

std::map<std::string, WrongCall> WrongCalls() {
  static std::vector<float> values(12);
  static const std::vector<int64_t> too_many(9, 1);
  const Array array = ArrayOf(std::span(values));
  const auto invalid = absl::StatusCode::kInvalidArgument;
  std::map<std::string, WrongCall> calls;
  calls["null"] = {[](Communicator& c) {
                     return c.AllReduce({nullptr, 3, ElementType::kFloat32}, ReduceOp::kSum);
                   },
                   invalid, "is null"};
  calls["negative"] = {[=](Communicator& c) {
                         return c.Broadcast({array.data, -1, ElementType::kFloat32}, 0);
                       },
                       invalid, "-1 elements"};
  calls["root"] = {[=](Communicator& c) { return c.Broadcast(array, c.size()); }, invalid, "root"};
  calls["root below"] = {[=](Communicator& c) { return c.Broadcast(array, -1); }, invalid, "root -1"};
  calls["bytes"] = {[=](Communicator& c) {
                      return c.AllReduce({array.data, 4, ElementType::kBytes}, ReduceOp::kSum);
                    },
                    invalid, "bytes travel and are not reduced"};
  calls["bf16"] = {[=](Communicator& c) {
                     return c.AllReduce({array.data, 4, ElementType::kBf16}, ReduceOp::kSum);
                   },
                   invalid, "bf16 travel"};
  calls["counts"] = {[=](Communicator& c) { return c.AllGather(array, too_many, array); }, invalid, "9 counts for"};
  calls["counts below zero"] = {[=](Communicator& c) {
                                  std::vector<int64_t> counts(static_cast<size_t>(c.size()), 0);
                                  counts[0] = -12;
                                  return c.AllGather(array, counts, array);
                                },
                                invalid, "-12 for rank 0"};
  calls["sum of counts"] = {
      [=](Communicator& c) {
        const std::vector<int64_t> counts(static_cast<size_t>(c.size()), 1);
        return c.ReduceScatter(array, counts, {array.data, 1, ElementType::kFloat32}, ReduceOp::kSum);
      },
      invalid, "in has 12"};
  calls["types"] = {[=](Communicator& c) {
                      std::vector<int64_t> counts(static_cast<size_t>(c.size()), 0);
                      counts[0] = 12;
                      return c.AllToAll(array, counts, {array.data, 12, ElementType::kInt32}, counts);
                    },
                    invalid, "in is float32, out is int32"};
  calls["device"] = {[=](Communicator& c) {
                       return c.AllReduce({array.data, 3, ElementType::kFloat32, Memory::kDevice}, ReduceOp::kSum);
                     },
                     absl::StatusCode::kUnimplemented, "device"};
  return calls;
}

TEST_P(Failure, CallsThatAreWrongOnEveryRank) {
  for (const auto& [name, wrong] : WrongCalls()) {
    SCOPED_TRACE(name);
    RunGroup(GetParam(), [&, &wrong = wrong](Member& member) {
      const absl::Status status = wrong.call(*member.comm);
      EXPECT_EQ(status.code(), wrong.code) << status;
      EXPECT_TRUE(Says(status, wrong.words)) << status;
      ExpectBroken(*member.comm, status);
    });
  }
}

TEST_P(Failure, CallsThatAreWrongOnOneRank) {
  for (const auto& [name, wrong] : WrongCalls()) {
    SCOPED_TRACE(name);
    RunGroup(GetParam(), [&, &wrong = wrong](Member& member) {
      const bool odd = member.rank == 0;
      const absl::Status status = odd ? wrong.call(*member.comm) : member.comm->Barrier();
      EXPECT_EQ(status.code(), odd ? wrong.code : absl::StatusCode::kFailedPrecondition) << status;
      EXPECT_TRUE(Says(status, wrong.words)) << status;
      EXPECT_TRUE(odd || Says(status, "rank 0")) << status;
      ExpectBroken(*member.comm, status);
    });
  }
}

TEST_P(Failure, ARankThatNeverCalls) {
  RunGroup(
      GetParam(),
      [](Member& member) {
        if (member.rank < member.size - 1) {
          member.comm->Name("gradients");
          const absl::Status status = member.comm->Barrier();
          EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
          EXPECT_TRUE(Says(status, "rank " + std::to_string(member.size - 1))) << status;
          EXPECT_TRUE(Says(status, "barrier") && Says(status, "gradients")) << status;
          ExpectBroken(*member.comm, status);
        }
        ASSERT_EQ(member.control->Barrier(), absl::OkStatus());
        if (member.rank == member.size - 1) {
          const absl::Status status = BarriersUntilBroken(*member.comm);
          EXPECT_FALSE(status.ok());
          ExpectBroken(*member.comm, status);
        }
      },
      Patience(milliseconds(300)));
}

TEST_P(Failure, ARankThatIsGone) {
  RunGroup(GetParam(), [](Member& member) {
    ASSERT_EQ(member.comm->Barrier(), absl::OkStatus());
    if (member.rank == member.size - 1) {
      member.comm.reset();
    } else {
      std::vector<float> values(1000);
      Pending pending = member.comm->AllReduceAsync(ArrayOf(std::span(values)), ReduceOp::kSum);
      const absl::Status status = pending.Wait();
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      EXPECT_TRUE(Says(status, "rank " + std::to_string(member.size - 1))) << status;
      EXPECT_TRUE(Says(status, "all-reduce")) << status;
      ExpectBroken(*member.comm, status);
    }
    EXPECT_EQ(member.control->Barrier(), absl::OkStatus());
  });
}

TEST_P(Failure, AbortFromAnotherThread) {
  RunGroup(GetParam(), [](Member& member) {
    const absl::Status why = absl::AbortedError("the watchdog has seen enough");
    if (member.rank < member.size - 1) {
      Pending first = member.comm->BarrierAsync();
      Pending second = member.comm->BarrierAsync();
      std::thread watchdog([&] {
        if (member.rank == 0) member.comm->Abort(why);
      });
      const absl::Status status = first.Wait();
      EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
      EXPECT_TRUE(Says(status, "seen enough")) << status;
      EXPECT_EQ(second.Wait(), status);
      ExpectBroken(*member.comm, status);
      watchdog.join();
    }
    EXPECT_EQ(member.control->Barrier(), absl::OkStatus());
    if (member.rank == member.size - 1) {
      const absl::Status status = BarriersUntilBroken(*member.comm);
      EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    }
  });
}

TEST_P(Failure, AbortWhenNothingIsUnderWay) {
  RunGroup(GetParam(), [](Member& member) {
    ASSERT_EQ(member.comm->Barrier(), absl::OkStatus());
    if (member.rank == 0) {
      member.comm->Abort(absl::DataLossError("a weight has changed"));
      member.comm->Abort(absl::AbortedError("again"));
    }
    const absl::Status status = member.comm->Barrier();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_TRUE(Says(status, "a weight has changed")) << status;
    ExpectBroken(*member.comm, status);
  });
}

TEST_P(Failure, ABrokenPartLeavesTheWhole) {
  RunGroup(GetParam(), [](Member& member) {
    auto part = member.comm->Split(0, 0);
    ASSERT_EQ(part.status(), absl::OkStatus());
    (*part)->Abort(absl::AbortedError("done with it"));
    EXPECT_EQ((*part)->Barrier().code(), absl::StatusCode::kAborted);
    EXPECT_EQ(member.comm->Barrier(), absl::OkStatus());
  });
}

}  // namespace
}  // namespace filigree::comm
