#include <fmt/format.h>
#include <gtest/gtest.h>

#include "worker/interop/pickle_reader.h"
#include "worker/interop/pickle_writer.h"

// The pickle of a state dict: what we and torch write is read, everything else ends in a Status.

namespace filigree::interop {
namespace {

using checkpoint::DType;
using checkpoint::Shape;

absl::StatusOr<std::vector<PickledTensor>> Read(const std::string& pickle) {
  return ReadStateDictPickle({reinterpret_cast<const uint8_t*>(pickle.data()), pickle.size()}, "x.pt");
}

std::string Text(const std::string& text) {
  std::string out = "X";
  for (int i = 0; i < 4; ++i) out += static_cast<char>(text.size() >> (8 * i));
  return out + text;
}

std::string Int(int64_t x) {
  std::string out = "\x8a\x08";
  for (int i = 0; i < 8; ++i) out += static_cast<char>(x >> (8 * i));
  return out;
}

std::string Ints(const std::vector<int64_t>& xs) {
  std::string out = "(";
  for (const int64_t x : xs) out += Int(x);
  return out + "t";
}

// _rebuild_tensor_v2 of a storage, as torch writes it.
std::string Tensor(const std::string& storage_class, int64_t elements, int64_t offset,
                   const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  return std::string("ctorch._utils\n_rebuild_tensor_v2\n((") + Text("storage") + "ctorch\n" + storage_class + "\n" +
         Text("7") + Text("cpu") + Int(elements) + "tQ" + Int(offset) + Ints(shape) + Ints(strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}

std::string Dict(const std::string& items) {
  return std::string("\x80\x02").append("ccollections\nOrderedDict\n)R(").append(items).append("u.");
}

void ExpectRefused(const std::string& pickle, const std::string& reason) {
  auto tensors = Read(pickle);
  EXPECT_TRUE(absl::IsDataLoss(tensors.status())) << reason << ": " << tensors.status();
  EXPECT_NE(tensors.status().message().find(reason), absl::string_view::npos) << tensors.status();
}

TEST(PickleTest, ReadsWhatItWrites) {
  const std::vector<checkpoint::NamedShape> written = {
      {"transformer.wte.weight", {70000, 5}}, {"bias", {300}}, {"huge", {65536, 65536}}, {"scalar", {}}};
  auto tensors = Read(PickleStateDict(written));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 4u);
  for (size_t i = 0; i < written.size(); ++i) {
    EXPECT_EQ((*tensors)[i].name, written[i].name);
    EXPECT_EQ((*tensors)[i].shape, written[i].shape);
    EXPECT_EQ((*tensors)[i].storage, std::to_string(i));
    EXPECT_EQ((*tensors)[i].dtype, DType::kF32);
    EXPECT_EQ((*tensors)[i].offset, 0u);
  }
  EXPECT_EQ((*tensors)[2].storage_elements, uint64_t{1} << 32);
  EXPECT_EQ((*tensors)[2].strides, (std::vector<int64_t>{65536, 1}));
}

TEST(PickleTest, ReadsViewsParametersAndModuleMetadata) {
  auto tensors = Read(Dict(Text("t") + Tensor("HalfStorage", 12, 1, {3, 2}, {1, 4})));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ((*tensors)[0].strides, (std::vector<int64_t>{1, 4}));
  EXPECT_EQ((*tensors)[0].dtype, DType::kF16);
  EXPECT_EQ((*tensors)[0].offset, 1u);

  const std::string parameter = std::string("ctorch._utils\n_rebuild_parameter\n(") +
                                Tensor("BFloat16Storage", 2, 0, {2}, {1}) +
                                "\x88"
                                "ccollections\nOrderedDict\n)RtR";
  tensors = Read(Dict(Text("p") + parameter));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ((*tensors)[0].dtype, DType::kBF16);

  // The state dict of a module carries _metadata as an attribute.
  std::string with_metadata = Dict(Text("t") + Tensor("FloatStorage", 2, 0, {2}, {1}));
  with_metadata.pop_back();
  with_metadata += std::string("}") + Text("_metadata") + "ccollections\nOrderedDict\n)R(" + Text("") + "}" +
                   Text("version") +
                   "K\x01"
                   "suSb.";
  ExpectRefused(with_metadata, "opcode 0x53");  // 'S' is a typo of the test on purpose: an old string opcode
  with_metadata.replace(with_metadata.size() - 3, 3, "sb.");
  tensors = Read(with_metadata);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ(tensors->size(), 1u);
}

TEST(PickleTest, ExecutesNothing) {
  // What a harmful file holds: a function and a call of it.
  ExpectRefused(std::string("\x80\x02") + "cos\nsystem\n(" + Text("echo harm") + "tR.", "something that is not a dict");
  ExpectRefused(Dict(Text("t") + "cos\nsystem\n(" + Text("echo harm") + "tR"), "calls 'os system'");
  ExpectRefused(Dict(Text("t") + "cbuiltins\neval\n(" + Text("1") + "tR"), "calls 'builtins eval'");
  ExpectRefused(std::string("\x80\x04") + std::string("\x8c\x02os\x8c\x06system\x93(") + Text("x") + "tR}b.",
                "OrderedDict");
  ExpectRefused(Dict(Text("t") + Tensor("UntypedStorage", 2, 0, {2}, {1})), "its storage is a 'torch UntypedStorage'");
  ExpectRefused(Dict(Text("t") + "(ios\nsystem\n"), "opcode 0x69");                    // INST
  ExpectRefused(Dict(Text("t") + "(cos\nsystem\n" + Text("x") + "o"), "opcode 0x6f");  // OBJ
  ExpectRefused(Dict(Text("t") + "cos\nsystem\n)\x81"), "opcode 0x81");                // NEWOBJ
  ExpectRefused(Dict(Text("t") + "Pid\n"), "opcode 0x50");                             // PERSID
  ExpectRefused(Dict(Text("t") + "\x82\x01"), "opcode 0x82");                          // EXT1
}

TEST(PickleTest, SizesThatLieAreRefused) {
  const auto refused = [](const std::string& tensor, const char* reason) {
    ExpectRefused(Dict(Text("t") + tensor), reason);
  };
  EXPECT_TRUE(Read(Dict(Text("t") + Tensor("FloatStorage", 6, 0, {2, 3}, {3, 1}))).ok());
  refused(Tensor("FloatStorage", 5, 0, {2, 3}, {3, 1}), "beyond its storage");
  refused(Tensor("FloatStorage", 6, 1, {2, 3}, {3, 1}), "beyond its storage");
  refused(Tensor("FloatStorage", 6, 0, {2, 3}, {4, 1}), "beyond its storage");
  refused(Tensor("FloatStorage", 6, 0, {1 << 30, 1 << 30}, {0, 0}), "beyond its storage");
  refused(Tensor("FloatStorage", 6, 0, {INT64_MAX, INT64_MAX}, {INT64_MAX, 1}), "beyond its storage");
  refused(Tensor("FloatStorage", 6, INT64_MAX, {2}, {INT64_MAX}), "beyond its storage");
  refused(Tensor("FloatStorage", 6, 0, {-2, 3}, {3, 1}), "negative");
  refused(Tensor("FloatStorage", 6, 0, {2, 3}, {-3, 1}), "negative");
  refused(Tensor("FloatStorage", -6, 0, {2, 3}, {3, 1}), "negative");
  refused(Tensor("FloatStorage", 6, 0, {2, 3}, {3}), "one stride a dimension");
  refused(Tensor("FloatStorage", 6, 0, std::vector<int64_t>(17, 1), std::vector<int64_t>(17, 1)), "16 dimensions");
  refused("K\x01", "not a tensor");
  ExpectRefused(Dict(std::string("K\x01") + Tensor("FloatStorage", 6, 0, {2, 3}, {3, 1})), "key");
  const std::string sound = Text("t") + Tensor("FloatStorage", 6, 0, {2, 3}, {3, 1});
  ExpectRefused(Dict(sound + sound), "twice");
  ExpectRefused(Dict(Text("a b") + Tensor("FloatStorage", 6, 0, {2, 3}, {3, 1})), "printable");
}

TEST(PickleTest, MalformedStreamsAreRefused) {
  ExpectRefused("", "no end");
  ExpectRefused(".", "one value");
  ExpectRefused("}}.", "one value");
  ExpectRefused("}(.", "one value");
  ExpectRefused("}.}", "behind its end");
  ExpectRefused("t.", "a mark is missing");
  ExpectRefused("R.", "a value is missing");
  ExpectRefused("(s.", "a value is missing");
  ExpectRefused("h\x05.", "remembered");
  ExpectRefused(
      "X\xff\xff\xff\xff"
      "abc",
      "ends inside a text");
  ExpectRefused("J\x01", "ends inside a number");
  ExpectRefused("cos\nsys", "ends inside a line");
  ExpectRefused("\x80\x05}.", "protocol");
  ExpectRefused(std::string("\x8a\x09") + std::string(9, '\1') + ".", "64 bits");
  ExpectRefused("](K\x01u.", "not a dict");
  ExpectRefused(
      "}K\x01"
      "a.",
      "not a list");
  ExpectRefused("K\x01K\x02R.", "no known name");
  ExpectRefused(std::string(kMaxPickleBytes + 1, '}'), "has");
}

TEST(PickleTest, DepthAndCyclesDoNoHarm) {
  ExpectRefused(std::string("}") + std::string(1 << 20, '\x85') + ".", "not a dict");
  ExpectRefused(std::string(1 << 20, '(') + ".", "one value");
  ExpectRefused(std::string("}q\x01") + Text("self") + "h\x01s.", "not a tensor");  // a dict that holds itself
}

TEST(PickleTest, EveryCutIsRefusedAndNoFlipHarms) {
  const std::string pickle = PickleStateDict({{"a", {3, 4}}, {"b", {5}}});
  for (size_t length = 0; length < pickle.size(); ++length) {
    EXPECT_FALSE(Read(pickle.substr(0, length)).ok()) << length;
  }
  for (size_t at = 0; at < pickle.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = pickle;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      auto tensors = Read(changed);
      if (!tensors.ok()) continue;
      for (const PickledTensor& t : *tensors) {
        EXPECT_LE(static_cast<uint64_t>(checkpoint::Elements(t.shape)), t.storage_elements);
      }
    }
  }
}

}  // namespace
}  // namespace filigree::interop
