#include "worker/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "tests/support/tiles.h"
#include "worker/checkpoint/float_bits.h"

// Safetensors: round trips, conversions, and files that mean harm.

namespace filigree::checkpoint {
namespace {

constexpr uint64_t kSeed = 5;

class SafetensorsTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  void WriteBytes(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  // A file with this header text (unpadded) and `data_bytes` bytes of data.
  absl::Status OpenHeader(const std::string& header, size_t data_bytes) {
    const uint64_t size = header.size();
    WriteBytes(std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(data_bytes, 'x'));
    return SafetensorsFile::Open(path_).status();
  }

  const std::string path_ = ::testing::TempDir() + "/filigree_safetensors_test.safetensors";
};

TEST_F(SafetensorsTest, NamesThatAReaderWouldRefuseAreNotWritten) {
  const float value = 1;
  for (const std::string& name : {std::string("a name"), std::string(), std::string("\xff"), std::string(257, 'a')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(WriteSafetensors(path_, {{name, DType::kF32, {1}, &value}}))) << name;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(
      WriteSafetensors(path_, {{"a", DType::kF32, {1}, &value}, {"a", DType::kF32, {1}, &value}})));
  EXPECT_FALSE(std::filesystem::exists(path_));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".tmp"));
}

TEST_F(SafetensorsTest, WritesWhatItReads) {
  testing_support::Rng rng(kSeed);
  std::vector<float> matrix(3 * 7);
  for (float& x : matrix) x = rng.Normal();
  const std::vector<uint16_t> tokens = {0, 1, 65535, 7, 8};
  const std::vector<int64_t> scalar = {-5};
  const std::vector<uint8_t> bytes = {1, 2, 255};
  const absl::Status written = WriteSafetensors(path_,
                                                {{"a.odd/name!", DType::kU8, {3}, bytes.data()},
                                                 {"matrix", DType::kF32, {3, 7}, matrix.data()},
                                                 {"tokens", DType::kU16, {5, 1}, tokens.data()},
                                                 {"nothing", DType::kF32, {0, 4}, nullptr},
                                                 {"scalar", DType::kI64, {}, scalar.data()}},
                                                {{"k\"ey", "v\nalue"}});
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_FALSE(std::filesystem::exists(path_ + ".tmp"));
  auto file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"k\"ey", "v\nalue"}}));
  ASSERT_EQ(file->tensors().size(), 5u);
  EXPECT_EQ(file->tensors()[0].name, "scalar") << "largest elements first";
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->tensors()[0].bytes.data()) % 64, 0u);
  EXPECT_EQ(*ToFloats(*file->Find("matrix")), matrix);
  EXPECT_EQ(file->Find("matrix")->shape, (Shape{3, 7}));
  EXPECT_EQ(*ToInts(*file->Find("tokens")), (std::vector<int64_t>{0, 1, 65535, 7, 8}));
  EXPECT_EQ(*ToInts(*file->Find("scalar")), scalar);
  EXPECT_TRUE(file->Find("nothing")->bytes.empty());
  EXPECT_EQ(file->Find("absent"), nullptr);
  EXPECT_TRUE(absl::IsInvalidArgument(ToInts(*file->Find("matrix")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ToFloats(*file->Find("tokens")).status()));
  // Views outlive a move of the file.
  SafetensorsFile moved = std::move(*file);
  EXPECT_EQ(*ToFloats(*moved.Find("matrix")), matrix);
}

TEST_F(SafetensorsTest, HalfFloatsAreExact) {
  EXPECT_EQ(FloatFromHalf(0x3c00), 1.0f);
  EXPECT_EQ(FloatFromHalf(0xc248), -3.140625f);
  EXPECT_EQ(FloatFromHalf(0x7bff), 65504.0f);
  EXPECT_EQ(FloatFromHalf(0x0001), 0x1p-24f);
  EXPECT_EQ(FloatFromHalf(0x83ff), -1023 * 0x1p-24f);
  EXPECT_EQ(std::bit_cast<uint32_t>(FloatFromHalf(0x8000)), 0x80000000u);
  EXPECT_EQ(FloatFromHalf(0xfc00), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(std::bit_cast<uint32_t>(FloatFromHalf(0x7e01)), 0x7fc02000u);
  EXPECT_EQ(FloatFromBfloat16(0xc049), -3.140625f);
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {  // every finite half, against the definition
    const int exponent = static_cast<int>(bits >> 10);
    const double fraction = bits & 1023;
    const double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    ASSERT_EQ(FloatFromHalf(static_cast<uint16_t>(bits)), expected) << bits;
  }
}

TEST_F(SafetensorsTest, HostileHeadersAreRefused) {
  EXPECT_TRUE(OpenHeader(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8).ok());
  EXPECT_TRUE(OpenHeader(R"({})", 0).ok());
  const std::tuple<std::string, size_t, const char*> cases[] = {
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "lies at"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "follow the last"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "lies at"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "by its shape"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "lies at"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})",
       20, "lies at"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
       16, "twice"},
      {R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "twice"},
      {R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8, "dtype"},
      {R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}})", 8, "dtype"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "dimension"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "dimension"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,8]}})", 8, "64 bits"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, "64 bits"},
      {R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "shape"},
      {R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}})", 8, "shape"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", 8, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":["0",8]}})", 8, "data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8, "other keys"},
      {R"({"a":{"dtype":"F32","shape":[2]}})", 8, "other keys"},
      {R"({"a":5})", 0, "other keys"},
      {R"({"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "name"},
      {R"({"a\u0000b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "name"},
      {"{\"" + std::string(257, 'n') + R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "name"},
      {R"({"__metadata__":{"a":1}})", 0, "metadata"},
      {R"({"__metadata__":"a"})", 0, "metadata"},
      {R"({"a":{"dtype":"F32","shape":[[[2]]],"data_offsets":[0,8]}})", 8, "deep"},
      {R"([1])", 0, "object"},
      {R"({"a":)", 0, "object"},
      {"", 0, "object"},
      {std::string(100000, '['), 0, "deep"},
  };
  for (const auto& [header, data_bytes, expected] : cases) {
    const absl::Status status = OpenHeader(header, data_bytes);
    EXPECT_TRUE(absl::IsDataLoss(status)) << header.substr(0, 200) << ": " << status;
    EXPECT_NE(status.message().find(expected), absl::string_view::npos) << header.substr(0, 200) << ": " << status;
  }
}

TEST_F(SafetensorsTest, EveryCutAndEveryFlipOfASmallFileEndsInAStatusOrAFile) {
  const std::vector<float> values = {1, 2, 3};
  ASSERT_TRUE(
      WriteSafetensors(path_, {{"a", DType::kF32, {3}, values.data()}, {"b", DType::kF32, {1}, values.data()}}).ok());
  std::ifstream in(path_, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  for (size_t length = 0; length < whole.size(); ++length) {
    WriteBytes(whole.substr(0, length));
    EXPECT_FALSE(SafetensorsFile::Open(path_).ok()) << length;
  }
  const size_t header_end = whole.size() - 16;
  for (size_t at = 0; at < header_end; ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ (1 << (at % 8)));
    WriteBytes(changed);
    auto file = SafetensorsFile::Open(path_);  // a flipped letter of a name is no damage this format can see
    if (file.ok()) {
      for (const TensorView& tensor : file->tensors()) EXPECT_LE(tensor.bytes.size(), 16u);
    }
  }
}

TEST_F(SafetensorsTest, SizesThatPromiseTooMuch) {
  for (const uint64_t size : {uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 7, kMaxHeaderBytes + 1}) {
    WriteBytes(std::string(reinterpret_cast<const char*>(&size), 8) + std::string(64, ' '));
    EXPECT_TRUE(absl::IsDataLoss(SafetensorsFile::Open(path_).status())) << size;
  }
  EXPECT_TRUE(absl::IsNotFound(SafetensorsFile::Open("/nowhere").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(SafetensorsFile::Open("/tmp").status()));
}

}  // namespace
}  // namespace filigree::checkpoint
