#include <gtest/gtest.h>

#include <string>

#include "coordinator/core/mask_agreement.h"
#include "tests/coordinator/core/scripted_cluster.h"

namespace filigree::coordinator {
namespace {

using Code = absl::StatusCode;
using Kind = MaskAgreement::Verdict::Kind;
using Ranks = std::vector<int32_t>;

// Digests of weights in the state `letter`, of the alphabet of digests.
Digests State(char letter) { return {{"weights", std::string(16, letter)}}; }

class Masks : public ::testing::Test {
 protected:
  absl::StatusOr<MaskReportReply> Report(const std::string& job, int32_t rank, int64_t epoch, const Digests& before,
                                         const Digests& after, int64_t generation = 0) {
    MaskReportRequest request;
    request.speaker = cluster.SpeakerOf(cluster.Job(job).ranks.at(rank).worker);
    request.job = job;
    request.generation = generation == 0 ? cluster.Job(job).generation : generation;
    request.rank = rank;
    request.epoch = epoch;
    request.before = before;
    request.after = after;
    return cluster.Keep(cluster.core().ReportMask(cluster.now(), request));
  }

  // "a" has the even ranks, "b" the odd ones.
  std::string RunOnTwo(const contract::JobSpec& spec) {
    cluster.Join("a", spec.data / 2 + spec.data % 2);
    cluster.Join("b", spec.data / 2);
    return cluster.Run(spec);
  }

  ScriptedCluster cluster;
};

TEST_F(Masks, AgreeWhenAllReplicasHaveSaidTheSame) {
  const std::string job = RunOnTwo(Spec("job", 2));
  auto reply = Report(job, 0, 0, {}, State('a'));
  ASSERT_TRUE(reply.ok());
  EXPECT_FALSE(reply->agreed);
  reply = Report(job, 1, 0, {}, State('a'));
  ASSERT_TRUE(reply.ok());
  EXPECT_TRUE(reply->agreed);
  EXPECT_EQ(cluster.events.back().kind, EventKind::kMasksAgreed);
  reply = Report(job, 0, 0, {}, State('a'));  // asks again
  ASSERT_TRUE(reply.ok());
  EXPECT_TRUE(reply->agreed);
  reply = Report(job, 0, 1, State('a'), State('b'));
  EXPECT_FALSE(reply->agreed);
  EXPECT_EQ(cluster.core().memory().masks.at(job).agreed, 1);
}

TEST_F(Masks, OfTwoThatDifferBothAreNamedAndTheRunGoesBackToItsCommit) {
  const std::string job = RunOnTwo(Spec("job", 2));
  ASSERT_TRUE(cluster.Commit(job, 40).ok());
  ASSERT_TRUE(Report(job, 0, 0, {}, State('a')).ok());
  const auto reply = Report(job, 1, 0, {}, State('b'));
  EXPECT_TRUE(Says(reply.status(), Code::kDataLoss,
                   "rank 0 on worker a, rank 1 on worker b differ after update 0: weights was aaaaaaaaaaaaaaaa"))
      << reply.status();
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);
  EXPECT_TRUE(cluster.Job(job).rollback);
  cluster.BeatAll(4);
  ASSERT_EQ(cluster.State(job), JobState::kRunning);
  const Assignment& assignment = cluster.worker("a").last.assignments.at(0);
  EXPECT_EQ(assignment.generation, 2);
  EXPECT_TRUE(assignment.rollback);
  EXPECT_EQ(assignment.resume->step, 40);
  EXPECT_EQ(cluster.core().memory().masks.at(job).differed, 1);
  // A later fault that is not about state does not roll back again.
  cluster.Rank(job, 0).state = RankState::kFailed;
  cluster.BeatAll(4);
  EXPECT_EQ(cluster.Job(job).generation, 3);
  EXPECT_FALSE(cluster.Job(job).rollback);
}

TEST_F(Masks, OutsideAMajorityOnlyTheOthersAreNamed) {
  const std::string job = RunOnTwo(Spec("job", 3));
  ASSERT_TRUE(Report(job, 0, 5, {}, State('a')).ok());
  ASSERT_TRUE(Report(job, 1, 5, {}, State('b')).ok());  // not yet: who is right is open
  const auto reply = Report(job, 2, 5, {}, State('a'));
  EXPECT_TRUE(Says(reply.status(), Code::kDataLoss, "job job-1: rank 1 on worker")) << reply.status();
  EXPECT_TRUE(Says(reply.status(), Code::kDataLoss, "differ from the majority after update 5")) << reply.status();
}

TEST_F(Masks, ARankThatContradictsItselfIsNamedAloneAndAtOnce) {
  const std::string job = RunOnTwo(Spec("job", 2));
  ASSERT_TRUE(Report(job, 0, 0, {}, State('a')).ok());
  ASSERT_TRUE(Report(job, 1, 0, {}, State('a')).ok());
  const auto reply = Report(job, 1, 1, State('c'), State('b'));  // what it left then is not what it has now
  EXPECT_TRUE(Says(reply.status(), Code::kDataLoss,
                   "job job-1: rank 1 on worker b contradicts its own digest of update 0: weights was aaaaaaaaaaaaaaaa "
                   "and is cccccccccccccccc"))
      << reply.status();
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);
}

TEST_F(Masks, ARestartedCoordinatorHearsTheDigestsFromHeartbeatsAndStillFindsTheContradiction) {
  const std::string job = RunOnTwo(Spec("job", 2));
  for (const int32_t rank : {0, 1}) {
    ASSERT_TRUE(Report(job, rank, 3, {}, State('a')).ok());
    cluster.Rank(job, rank).mask_epoch = 3;
    cluster.Rank(job, rank).mask_digests = State('a');
  }
  cluster.RestartCoordinator();
  cluster.BeatAll(1);
  const auto reply = Report(job, 0, 4, State('d'), State('b'));
  EXPECT_TRUE(Says(reply.status(), Code::kDataLoss, "rank 0 on worker a contradicts")) << reply.status();
}

TEST_F(Masks, ADifferenceToldByHeartbeatsAloneEndsTheGeneration) {
  const std::string job = RunOnTwo(Spec("job", 2));
  for (const int32_t rank : {0, 1}) {
    cluster.Rank(job, rank).mask_epoch = 2;
    cluster.Rank(job, rank).mask_digests = State(rank == 0 ? 'a' : 'b');
  }
  cluster.BeatAll(1);
  EXPECT_EQ(cluster.State(job), JobState::kRecovering);
  EXPECT_TRUE(cluster.Job(job).rollback);
}

TEST_F(Masks, StaleGenerationsStrangersAndNonsenseAreRefused) {
  const std::string job = RunOnTwo(Spec("job", 2));
  EXPECT_TRUE(Says(Report(job, 0, 0, {}, State('a'), 2).status(), Code::kFailedPrecondition, "at generation 1"));
  EXPECT_TRUE(Says(Report(job, 0, -1, {}, State('a')).status(), Code::kInvalidArgument, "number 0 or more"));
  EXPECT_TRUE(Says(Report(job, 0, 0, {}, {}).status(), Code::kInvalidArgument, "at least one digest"));
  EXPECT_TRUE(
      Says(Report(job, 0, 0, {}, {{"weights", "short"}}).status(), Code::kInvalidArgument, "digest of weights"));
  EXPECT_TRUE(Says(Report(job, 0, 0, {}, {{"a b", std::string(16, 'a')}}).status(), Code::kInvalidArgument, "name"));
  EXPECT_TRUE(Says(Report(job, 0, 0, {}, Digests(65, State('a')[0])).status(), Code::kInvalidArgument, "65 digests"));
  MaskReportRequest request;
  request.speaker = cluster.SpeakerOf("a");
  request.job = job;
  request.generation = 1;
  request.after = State('a');
  for (const int32_t rank : {1, 2, -1}) {
    request.rank = rank;
    EXPECT_TRUE(Says(cluster.Keep(cluster.core().ReportMask(cluster.now(), request)).status(), Code::kPermissionDenied,
                     "does not hold rank"));
  }
  EXPECT_EQ(cluster.State(job), JobState::kRunning);
}

TEST(MaskAgreement, OnlyReplicasOfOneTensorIndexAreCompared) {
  MaskAgreement masks(2, 2);  // ranks 0 and 2, and 1 and 3
  EXPECT_EQ(masks.Report(0, 0, {}, State('a')).kind, Kind::kPending);
  EXPECT_EQ(masks.Report(1, 0, {}, State('b')).kind, Kind::kPending);
  EXPECT_EQ(masks.Report(2, 0, {}, State('a')).kind, Kind::kPending);  // 3 has not spoken
  const auto verdict = masks.Report(3, 0, {}, State('c'));
  EXPECT_EQ(verdict.kind, Kind::kDiffer);
  EXPECT_EQ(verdict.ranks, (Ranks{1, 3}));
}

TEST(MaskAgreement, AnUpdateIsAgreedOnOnceAndOldReportsSayNothing) {
  MaskAgreement masks(2, 1);
  masks.Report(0, 0, {}, State('a'));
  EXPECT_TRUE(masks.Report(1, 0, {}, State('a')).first);
  EXPECT_FALSE(masks.Report(1, 0, {}, State('a')).first);
  masks.Report(0, 1, {}, State('b'));
  masks.Report(1, 1, {}, State('b'));
  EXPECT_EQ(masks.Report(0, 0, {}, State('f')).kind, Kind::kAgreed);  // late on the way, not compared
}

TEST(MaskAgreement, SayingTwoThingsOfOneUpdateIsAContradiction) {
  MaskAgreement masks(3, 1);
  masks.Report(2, 7, {}, State('a'));
  const auto verdict = masks.Report(2, 7, {}, State('b'));
  EXPECT_EQ(verdict.kind, Kind::kDiffer);
  EXPECT_EQ(verdict.ranks, Ranks{2});
}

TEST(MaskAgreement, WithoutAMajorityAllAreNamed) {
  MaskAgreement masks(4, 1);
  masks.Report(0, 0, {}, State('a'));
  masks.Report(1, 0, {}, State('b'));
  masks.Report(2, 0, {}, State('a'));
  EXPECT_EQ(masks.Report(3, 0, {}, State('b')).ranks, (Ranks{0, 1, 2, 3}));
}

TEST(MaskAgreement, DifferencesAreNamedByTheFirstThatDiffers) {
  EXPECT_EQ(DifferenceOf({}, {}), "");
  EXPECT_EQ(DifferenceOf({{"m", "1"}, {"w", "2"}}, {{"m", "1"}, {"w", "3"}}), "w was 2 and is 3");
  EXPECT_EQ(DifferenceOf({{"m", "1"}}, {{"m", "1"}, {"w", "3"}}), "w was not there");
  EXPECT_EQ(DifferenceOf({{"m", "1"}, {"w", "3"}}, {{"m", "1"}}), "w is missing");
  EXPECT_EQ(DifferenceOf({{"m", "1"}}, {{"n", "1"}}), "n stands where m was");
}

// The generation that was rolled back ran on: what it came to is what the next one goes on from.
TEST_F(Masks, AGenerationThatRanAfterGoingBackIsNotGivenUpByADrain) {
  const std::string job = RunOnTwo(Spec("job", 2));
  ASSERT_TRUE(cluster.Commit(job, 40).ok());
  ASSERT_TRUE(Report(job, 0, 0, {}, State('a')).ok());
  ASSERT_FALSE(Report(job, 1, 0, {}, State('b')).ok());
  cluster.BeatAll(4);
  ASSERT_EQ(cluster.State(job), JobState::kRunning);
  ASSERT_TRUE(cluster.Job(job).rollback);
  cluster.Join("c", 2);
  ASSERT_TRUE(cluster.Keep(cluster.core().DrainWorker(cluster.now(), {"a"})).ok());
  cluster.BeatAll(4);
  EXPECT_EQ(cluster.Job(job).generation, 3);
  EXPECT_FALSE(cluster.Job(job).rollback);
}

}  // namespace
}  // namespace filigree::coordinator
