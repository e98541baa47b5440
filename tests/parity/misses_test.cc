// The program parity must fail where it must: each test alters one thing in a copy of a golden case.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/tiles.h"
#include "worker/checkpoint/safetensors.h"

namespace filigree::parity {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// A golden case in memory, free to be bent.
struct Case {
  explicit Case(const std::string& name) {
    const std::string base = std::string(FILIGREE_GOLDEN) + "/" + name;
    root = json::parse(std::ifstream(base + ".json"));
    auto file = checkpoint::SafetensorsFile::Open(base + ".safetensors");
    EXPECT_TRUE(file.ok()) << file.status();
    for (const checkpoint::TensorView& view : file->tensors()) {
      tensors.push_back({view.name, view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}});
    }
  }

  struct Tensor {
    std::string name;
    checkpoint::DType dtype;
    checkpoint::Shape shape;
    std::vector<uint8_t> bytes;
  };

  Tensor& At(const std::string& name) {
    for (Tensor& tensor : tensors) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << "no tensor " << name;
    return tensors.front();
  }
  void Drop(const std::string& name) {
    std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
  }
  // Replaces the first entry for which `change` gives another value.
  void Change(const std::string& name, const std::function<float(float)>& change) {
    Tensor& tensor = At(name);
    for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(float)) {
      float old = 0;
      std::memcpy(&old, tensor.bytes.data() + at, sizeof old);
      const float changed = change(old);
      std::memcpy(tensor.bytes.data() + at, &changed, sizeof changed);
      if (changed != old) return;
    }
    ADD_FAILURE() << "nothing to change in " << name;
  }

  void Save(const std::string& folder) const {
    std::ofstream(folder + "/case.json") << root;
    std::vector<checkpoint::TensorData> data;
    data.reserve(tensors.size());
    for (const Tensor& tensor : tensors) data.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes.data()});
    const absl::Status status = checkpoint::WriteSafetensors(folder + "/case.safetensors", data);
    EXPECT_TRUE(status.ok()) << status;
  }

  json root;
  std::vector<Tensor> tensors;
};

class Parity : public testing::Test {
 protected:
  Parity() {
    std::string pattern = (std::filesystem::temp_directory_path() / "parity_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Parity() override { std::filesystem::remove_all(folder_); }

  // Runs the program over the folder; its output and exit code.
  void Run() {
    const std::string command =
        std::string(FILIGREE_PARITY) + " " + folder_ + " --threads 1 --quiet " + options_ + " 2>&1";
    std::FILE* pipe = popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    output_.clear();
    char buffer[4096];
    for (size_t n = 0; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) output_.append(buffer, n);
    const int status = pclose(pipe);
    ASSERT_TRUE(WIFEXITED(status)) << output_;
    code_ = WEXITSTATUS(status);
  }

  // The case as it is passes; bent by `edit` it does not, and the output says why.
  void ExpectMiss(const std::string& name, const std::function<void(Case&)>& edit, const std::string& text) {
    Case bent(name);
    edit(bent);
    bent.Save(folder_);
    Run();
    EXPECT_EQ(code_, 1) << output_;
    EXPECT_THAT(output_, HasSubstr(text));
  }

  std::string folder_, output_, options_;
  int code_ = -1;
};

TEST_F(Parity, ACopyPasses) {
  for (const char* name : {"topk_sink_bigram", "train_anneal"}) {
    Case(name).Save(folder_);
    Run();
    EXPECT_EQ(code_, 0) << output_;
    EXPECT_THAT(output_, HasSubstr(" 0 misses"));
  }
}

// In groups of 3 this run amplifies its roundings beyond four times those of the authors' fp32 run. That excuses it as
// far as rounding goes (2 D, some 2.9e-6), and no farther.
TEST_F(Parity, AmplifiedRoundingPassesAndLittleMoreMisses) {
  options_ = "--tensor-groups 3";
  Case("train_weights_only").Save(folder_);
  Run();
  EXPECT_EQ(code_, 0) << output_;
  const std::string name = "out.transformer.h.0.attn.c_attn.weight";
  ExpectMiss(
      "train_weights_only",
      [&](Case& c) {
        for (Case::Tensor& tensor : c.tensors) {
          if (tensor.name != name) continue;
          for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(float)) {
            float value = 0;
            std::memcpy(&value, tensor.bytes.data() + at, sizeof value);
            value *= 1 + 5e-6f;
            std::memcpy(tensor.bytes.data() + at, &value, sizeof value);
          }
        }
      },
      name);
}

// Inputs that differ in their last bit round differently all along the run. The truth has a tie of two weights that are
// 1.5 units of the last place apart (step 16, h.1.attn.c_attn.weight, entries 2834 and 3199): about one such run in
// eight decides it the other way.
TEST_F(Parity, AHarmlessRoundingOfTheInputsPasses) {
  for (uint64_t seed = 0; seed < 24; ++seed) {
    Case c("train_weights_only");
    testing_support::Rng rng(seed);
    for (Case::Tensor& tensor : c.tensors) {
      if (!tensor.name.starts_with("in.")) continue;
      for (size_t at = 0; at < tensor.bytes.size(); at += sizeof(uint32_t)) {
        uint32_t bits = 0;
        std::memcpy(&bits, tensor.bytes.data() + at, sizeof bits);
        if (bits != 0) bits += static_cast<uint32_t>(rng.Below(2));
        std::memcpy(tensor.bytes.data() + at, &bits, sizeof bits);
      }
    }
    c.Save(folder_);
    Run();
    EXPECT_EQ(code_, 0) << "seed " << seed << "\n" << output_;
  }
}

TEST_F(Parity, APerturbedTensorMisses) {
  const auto push = [](float x) { return x + 1e-2f; };
  for (const char* tensor : {"logits", "loss", "act.1.attn.y", "act.final_resid", "grad.bigram_table",
                             "grad.transformer.h.0.attn.attn_imp.sink_logit", "grad.transformer.wte.weight"}) {
    ExpectMiss(
        "topk_sink_bigram", [&](Case& c) { c.Change(tensor, push); }, tensor);
  }
  ExpectMiss(
      "train_anneal", [&](Case& c) { c.Change("out.transformer.ln_f.weight", push); }, "out.transformer.ln_f");
}

TEST_F(Parity, AnAlteredWeightMisses) {
  const auto edit = [](Case& c) { c.Change("in.transformer.h.0.mlp.c_fc.weight", [](float x) { return x + 0.1f; }); };
  ExpectMiss("topk_gelu", edit, "act.0.mlp.post_act");
  ExpectMiss("train_weights_only", edit, "loss at step");
}

TEST_F(Parity, AnotherZeroPatternMissesHoweverCloseTheValues) {
  const auto tiny = [](float x) { return x == 0 ? 1e-30f : x; };
  ExpectMiss(
      "topk_gelu", [&](Case& c) { c.Change("act.0.attn.q", tiny); }, "1 off");
  ExpectMiss(
      "train_anneal", [&](Case& c) { c.Change("out.lm_head.weight", tiny); }, "1 off");
}

TEST_F(Parity, NotANumberMisses) {
  const auto nan = [](float) { return NAN; };
  ExpectMiss(
      "topk_gelu", [&](Case& c) { c.Change("act.0.resid_mid", nan); }, "act.0.resid_mid");
}

TEST_F(Parity, AWrongRecordOfAStepMisses) {
  const auto scale = [](const char* key, double factor) {
    return [=](Case& c) { c.root["steps"][7][key] = c.root["steps"][7][key].get<double>() * factor; };
  };
  ExpectMiss("train_anneal", scale("lr", 1 + 1e-9), "lr at step 7");
  ExpectMiss("train_anneal", scale("pfrac", 1 - 1e-9), "pfrac at step 7");
  ExpectMiss("train_anneal", scale("loss", 1 + 1e-5), "loss at step 7");
  ExpectMiss("train_anneal", scale("grad_rms", 1 + 1e-3), "grad_rms at step 7");
}

TEST_F(Parity, AWrongCountOfNonzerosMisses) {
  const char* matrix = "transformer.h.1.mlp.c_proj.weight";
  const auto one_more = [&](Case& c) {
    json& count = c.root["steps"][20]["nnz"][matrix];
    count = count.get<int64_t>() + 1;
  };
  ExpectMiss("train_anneal", one_more, "nnz at step 20");
  ExpectMiss(
      "train_anneal", [&](Case& c) { c.root["steps"][20]["nnz"].erase(matrix); }, "has no count of");
  ExpectMiss(
      "train_anneal", [&](Case& c) { c.root["steps"][20]["nnz"]["head.weight"] = 1; }, "does not have");
}

TEST_F(Parity, AMissingTensorMisses) {
  for (const char* tensor :
       {"in.transformer.ln_f.weight", "act.1.mlp.act_in", "logits", "grad.lm_head.weight", "tokens"}) {
    ExpectMiss(
        "topk_gelu", [&](Case& c) { c.Drop(tensor); }, tensor);
  }
  ExpectMiss(
      "train_anneal", [&](Case& c) { c.Drop("out.bigram_table"); }, "out.bigram_table");
}

TEST_F(Parity, ATensorThatNothingIsComparedWithMisses) {
  const auto copy = [](Case& c) {
    Case::Tensor more = c.At("logits");
    more.name = "act.2.attn.q";
    c.tensors.push_back(more);
  };
  ExpectMiss("topk_gelu", copy, "act.2.attn.q");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["fp32_distance_from_f64"].erase("logits"); }, "no entry 'logits'");
}

TEST_F(Parity, AnotherConfigurationMisses) {
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["afrac"] = 0.5; }, "act.0.attn.act_in");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["act"] = "relu"; }, "act.0.mlp.post_act");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["loctypes"] = "attn_in,mlp_out"; }, "act.0.attn.q");
  ExpectMiss(
      "train_anneal", [](Case& c) { c.root["config"]["j"] = 3; }, "out.");
  ExpectMiss(
      "train_anneal", [](Case& c) { c.root["config"]["warmup"] = 0.2; }, "lr at step");
  ExpectMiss(
      "train_anneal", [](Case& c) { c.root["config"]["wd"] = 0.2; }, "out.");
}

TEST_F(Parity, AMalformedCaseMissesAndIsNamed) {
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"].erase("n_head"); }, "'n_head' is missing");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["t"] = "32"; }, "'t' is \"32\", an integer");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["loctypes"] = "attn_in,attn_x"; }, "attn_x");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["act"] = "silu"; }, "gelu or relu");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["batch"] = 3; }, "tokens is [2, 32]");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["vocab"] = 100; }, "in a vocabulary of 100");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["config"]["afrac"] = 0.001; }, "keeps nothing");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root = json::array(); }, "expected an object");
  ExpectMiss(
      "topk_gelu", [](Case& c) { c.root["fp32_distance_from_f64"] = 1; }, "expected an object");
  ExpectMiss(
      "train_anneal", [](Case& c) { c.root["steps"].erase(3); }, "40 records");
  ExpectMiss(
      "train_anneal", [](Case& c) { c.root["steps"][3]["step"] = 4; }, "steps[3]");
  ExpectMiss(
      "train_anneal", [](Case& c) { c.root["config"]["ef"] = 0; }, "above 0");
}

TEST_F(Parity, AnUnknownKeyIsSaidAndHarmsNothing) {
  Case c("topk_gelu");
  c.root["config"]["colour"] = "red";
  c.Save(folder_);
  Run();
  EXPECT_EQ(code_, 0) << output_;
  EXPECT_THAT(output_, HasSubstr("'colour' is unknown"));
}

TEST_F(Parity, HalfACaseOrNoneMisses) {
  Run();
  EXPECT_EQ(code_, 1);
  EXPECT_THAT(output_, HasSubstr("no case in"));
  Case("topk_gelu").Save(folder_);
  std::filesystem::rename(folder_ + "/case.json", folder_ + "/other.json");
  Run();
  EXPECT_EQ(code_, 1);
  EXPECT_THAT(output_, testing::AllOf(HasSubstr("case.json"), HasSubstr("other.safetensors")));
  std::ofstream(folder_ + "/other.json") << "{";
  Run();
  EXPECT_EQ(code_, 1);
  EXPECT_THAT(output_, HasSubstr("other.json is not JSON"));
  std::filesystem::remove_all(folder_);
  Run();
  EXPECT_EQ(code_, 1);
  EXPECT_THAT(output_, HasSubstr("cannot read the folder"));
}

}  // namespace
}  // namespace filigree::parity
