#include "worker/machine/machine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "kernels/base/buffer.h"
#include "worker/machine/clock.h"
#include "worker/machine/probe.h"

namespace filigree::machine {
namespace {

namespace fs = std::filesystem;

fs::path Folder(const std::string& name) {
  fs::path dir = fs::path(::testing::TempDir()) / ("machine_test_" + std::to_string(getpid())) / name;
  fs::create_directories(dir);
  return dir;
}

void Write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

TEST(ProcessorTest, ModelIsReadFromCpuinfo) {
  const fs::path dir = Folder("cpuinfo");
  Write(dir / "cpuinfo", "processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU @ 3 GHz\nmodel name\t: Another\n");
  EXPECT_EQ(ProcessorModel(dir / "cpuinfo"), "Some CPU @ 3 GHz");
  EXPECT_EQ(ProcessorModel(dir / "missing"), "unknown");
}

TEST(ProcessorTest, CachesAreFoundByLevelAndInstructionCachesAreNot) {
  const fs::path dir = Folder("cache");
  const auto cache = [&](const std::string& index, const std::string& level, const std::string& type,
                         const std::string& size) {
    fs::create_directories(dir / index);
    Write(dir / index / "level", level + "\n");
    Write(dir / index / "type", type + "\n");
    Write(dir / index / "size", size + "\n");
  };
  cache("index0", "1", "Instruction", "64K");
  cache("index1", "1", "Data", "48K");
  cache("index2", "2", "Unified", "2M");
  cache("index3", "3", "Unified", "lots");
  EXPECT_EQ(CacheBytes(dir, 1), 48 << 10);
  EXPECT_EQ(CacheBytes(dir, 2), 2 << 20);
  EXPECT_EQ(CacheBytes(dir, 3), 0);
  EXPECT_EQ(CacheBytes(dir, 4), 0);
}

TEST(ProbeTest, MultiplyAddDoesTheArithmeticItClaims) {
  float once = 0, twice = 0;
  const double flops = MultiplyAdd(1000, &once);
  EXPECT_GE(flops, 2.0 * 1000 * 8);  // at least one AVX2 vector a round
  EXPECT_EQ(MultiplyAdd(2000, &twice), 2 * flops);
  // Every round takes a millionth away: after a thousand, a thousandth.
  EXPECT_NEAR(twice / once, 0.999, 1e-4);
}

TEST(ProbeTest, ReadOnceReadsEveryFloat) {
  kernels::Buffer<float> data(1024);
  float before = 0;
  ReadOnce(data.data(), data.size(), &before);
  for (const size_t i : {0, 17, 255, 256, 1023}) {
    data[i] = 1;
    float after = 0;
    ReadOnce(data.data(), data.size(), &after);
    EXPECT_NE(after, before) << "float " << i;
    data[i] = 0;
  }
}

TEST(ProbeTest, UpdateOnceAddsOneToEveryFloat) {
  kernels::Buffer<float> data(512);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i);
  UpdateOnce(data.data(), data.size());
  for (size_t i = 0; i < data.size(); ++i) EXPECT_EQ(data[i], static_cast<float>(i + 1));
}

TEST(ClockTest, GoesForward) {
  const double wall = WallSeconds(), cpu = ThreadCpuSeconds();
  float sink = 0;
  MultiplyAdd(1 << 18, &sink);
  EXPECT_GT(WallSeconds(), wall);
  EXPECT_GT(ThreadCpuSeconds(), cpu);
}

// Bounds that no machine breaks, not figures: one wrong by a thousand (a unit mistaken) is outside.
TEST(MachineTest, FiguresAreThoseOfAComputer) {
  kernels::ThreadPool pool(2);
  const Machine machine = MeasureMachine(pool);
  EXPECT_EQ(machine.threads, 2);
  EXPECT_FALSE(machine.simd.empty());
  EXPECT_GE(machine.processor.cores, 1);
  for (const double rate : {machine.core_gflops, machine.all_gflops, machine.core_l2_gbps, machine.core_dram_gbps,
                            machine.all_dram_gbps, machine.core_update_gbps, machine.all_update_gbps}) {
    EXPECT_GT(rate, 0.05) << machine.Describe();
    EXPECT_LT(rate, 20000) << machine.Describe();
  }
  EXPECT_NE(machine.Describe().find(machine.simd), std::string::npos);
}

TEST(MachineTest, TheSlowerOfArithmeticAndMemoryDecides) {
  Machine machine;
  machine.all_gflops = 100;
  machine.all_dram_gbps = 10;
  machine.all_update_gbps = 8;
  EXPECT_DOUBLE_EQ(machine.SecondsAtBest(1e11, 1e9), 1.0);
  EXPECT_DOUBLE_EQ(machine.SecondsAtBest(1e9, 2e10), 2.0);
  machine.all_update_gbps = 20;
  EXPECT_DOUBLE_EQ(machine.SecondsAtBest(1e9, 4e10), 2.0);
}

}  // namespace
}  // namespace filigree::machine
