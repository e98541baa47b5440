#ifndef FILIGREE_WORKER_CHECKPOINT_TEXTS_H_
#define FILIGREE_WORKER_CHECKPOINT_TEXTS_H_

// Keys of State::texts: what a checkpoint says about the run it belongs to, so that it can be read without the run.

namespace filigree::checkpoint::texts {

// The resolved settings as TOML, as worker/config prints them. An import has the settings of its model here, the rest
// at their defaults.
inline constexpr char kConfig[] = "config.toml";
// V as a decimal number.
inline constexpr char kVocab[] = "vocab";
// SHA-256 in hex of the tokenizer.json the run was trained with; absent in an import that brought none.
inline constexpr char kTokenizerSha256[] = "tokenizer_sha256";
// The tokenizer.json itself, so that a checkpoint can be sampled from without its data folder; may be absent.
inline constexpr char kTokenizerJson[] = "tokenizer.json";
// What identifies the corpus in its manifest (a digest): a resume on other data is refused.
inline constexpr char kCorpusDigest[] = "corpus_digest";
// Where an import came from, for people: file and format.
inline constexpr char kSource[] = "source";
// The run's name, for people.
inline constexpr char kRunName[] = "run_name";
// "2x1": the data x tensor ranks whose own files lie beside; absent where there are none.
inline constexpr char kGrid[] = "grid";

}  // namespace filigree::checkpoint::texts

#endif  // FILIGREE_WORKER_CHECKPOINT_TEXTS_H_
