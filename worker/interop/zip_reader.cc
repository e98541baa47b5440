#include "worker/interop/zip_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "worker/interop/crc32.h"
#include "worker/interop/zip_format.h"

namespace filigree::interop {
namespace {

using Bytes = std::span<const uint8_t>;

absl::Status Broken(const std::string& path, const std::string& what) {
  return absl::DataLossError(fmt::format("{}: {}; not a sound zip file", path, what));
}

// Little-endian number at `at`; callers have checked that it lies inside.
template <typename T>
T At(Bytes bytes, uint64_t at) {
  T x;
  std::memcpy(&x, bytes.data() + at, sizeof(T));
  return x;
}

bool Inside(uint64_t begin, uint64_t size, uint64_t limit) { return begin <= limit && size <= limit - begin; }

struct Directory {
  uint64_t begin = 0, size = 0, count = 0;
};

// The zip64 end record, which the locator in front of the plain one at `end` points to.
bool ReadEnd64(Bytes bytes, uint64_t end, Directory& directory) {
  if (end < zip::kLocator64Bytes) return false;
  const uint64_t locator = end - zip::kLocator64Bytes;
  if (At<uint32_t>(bytes, locator) != zip::kLocator64Signature) return false;
  const auto at = At<uint64_t>(bytes, locator + 8);
  if (!Inside(at, zip::kEnd64Bytes, locator) || At<uint32_t>(bytes, at) != zip::kEnd64Signature) return false;
  directory = {At<uint64_t>(bytes, at + 48), At<uint64_t>(bytes, at + 40), At<uint64_t>(bytes, at + 32)};
  return Inside(directory.begin, directory.size, at);
}

absl::StatusOr<Directory> FindDirectory(Bytes bytes, const std::string& path) {
  if (bytes.size() < zip::kEndBytes) return Broken(path, "it is too short");
  // The end record is last but for a comment of at most 64 KiB.
  const uint64_t last = bytes.size() - zip::kEndBytes, first = last > 0xffff ? last - 0xffff : 0;
  for (uint64_t end = last + 1; end-- > first;) {
    if (At<uint32_t>(bytes, end) != zip::kEndSignature) continue;
    if (At<uint16_t>(bytes, end + 20) != bytes.size() - end - zip::kEndBytes) continue;
    Directory directory{At<uint32_t>(bytes, end + 16), At<uint32_t>(bytes, end + 12), At<uint16_t>(bytes, end + 10)};
    const bool zip64 =
        directory.begin == zip::kSeeZip64 || directory.size == zip::kSeeZip64 || directory.count == 0xffff;
    if (zip64 && !ReadEnd64(bytes, end, directory)) return Broken(path, "its zip64 end record is damaged");
    if (!Inside(directory.begin, directory.size, end)) return Broken(path, "its directory lies outside");
    if (directory.count > kMaxEntries) return Broken(path, fmt::format("it has {} entries", directory.count));
    return directory;
  }
  return Broken(path, "it has no end record; it was cut, or is no zip file");
}

struct Central {
  std::string name;
  uint64_t size = 0, stored_size = 0, offset = 0;
  uint32_t crc = 0;
};

// Replaces what the plain fields leave to the zip64 extra field. False: it is not there or too short.
bool ReadExtra(Bytes extra, Central& entry) {
  const bool needed =
      entry.size == zip::kSeeZip64 || entry.stored_size == zip::kSeeZip64 || entry.offset == zip::kSeeZip64;
  if (!needed) return true;
  for (uint64_t at = 0; at + 4 <= extra.size();) {
    const uint64_t length = At<uint16_t>(extra, at + 2);
    if (!Inside(at + 4, length, extra.size())) return false;
    if (At<uint16_t>(extra, at) == zip::kZip64Extra) {
      const Bytes field = extra.subspan(at + 4, length);
      uint64_t next = 0;
      for (uint64_t* value : {&entry.size, &entry.stored_size, &entry.offset}) {
        if (*value != zip::kSeeZip64) continue;
        if (!Inside(next, 8, field.size())) return false;
        *value = At<uint64_t>(field, next);
        next += 8;
      }
      return true;
    }
    at += 4 + length;
  }
  return false;
}

// One record of the directory at `at`, which moves behind it.
absl::StatusOr<Central> ReadCentral(Bytes directory, uint64_t& at, const std::string& path) {
  if (!Inside(at, zip::kCentralBytes, directory.size()) || At<uint32_t>(directory, at) != zip::kCentralSignature) {
    return Broken(path, "its directory is damaged");
  }
  const uint64_t name = At<uint16_t>(directory, at + 28), extra = At<uint16_t>(directory, at + 30),
                 comment = At<uint16_t>(directory, at + 32);
  const auto flags = At<uint16_t>(directory, at + 8), method = At<uint16_t>(directory, at + 10);
  Central entry{"", At<uint32_t>(directory, at + 24), At<uint32_t>(directory, at + 20),
                At<uint32_t>(directory, at + 42), At<uint32_t>(directory, at + 16)};
  at += zip::kCentralBytes;
  if (!Inside(at, name + extra + comment, directory.size())) return Broken(path, "its directory is damaged");
  entry.name.assign(reinterpret_cast<const char*>(directory.data()) + at, name);
  if (!ReadExtra(directory.subspan(at + name, extra), entry)) return Broken(path, "an entry lacks its zip64 sizes");
  at += name + extra + comment;
  if (method != zip::kStored || (flags & zip::kFlagEncrypted) != 0 || entry.size != entry.stored_size) {
    return Broken(path, "an entry is compressed or encrypted, which torch.save never does");
  }
  return entry;
}

struct Located {
  ZipEntry entry;
  uint64_t begin = 0, end = 0;  // local header and data
};

absl::StatusOr<Located> Locate(Bytes bytes, uint64_t limit, const Central& central, const std::string& path) {
  const auto broken = [&] { return Broken(path, "an entry's header disagrees with the directory"); };
  if (!Inside(central.offset, zip::kLocalBytes, limit) || At<uint32_t>(bytes, central.offset) != zip::kLocalSignature ||
      At<uint16_t>(bytes, central.offset + 8) != zip::kStored) {
    return broken();
  }
  const uint64_t name = At<uint16_t>(bytes, central.offset + 26), extra = At<uint16_t>(bytes, central.offset + 28);
  const uint64_t name_begin = central.offset + zip::kLocalBytes;
  if (!Inside(name_begin, name + extra, limit) || name != central.name.size() ||
      std::memcmp(bytes.data() + name_begin, central.name.data(), name) != 0) {
    return broken();
  }
  const uint64_t data = name_begin + name + extra;
  if (!Inside(data, central.size, limit)) return Broken(path, "an entry reaches beyond the file");
  return Located{{central.name, bytes.subspan(data, central.size), central.crc}, central.offset, data + central.size};
}

}  // namespace

absl::StatusOr<std::vector<ZipEntry>> ReadZip(Bytes bytes, const std::string& path) {
  auto directory = FindDirectory(bytes, path);
  if (!directory.ok()) return directory.status();
  const Bytes records = bytes.subspan(directory->begin, directory->size);
  std::vector<Located> located;
  std::set<std::string> names;
  uint64_t at = 0;
  for (uint64_t i = 0; i < directory->count; ++i) {
    auto central = ReadCentral(records, at, path);
    if (!central.ok()) return central.status();
    if (!names.insert(central->name).second) return Broken(path, "two entries have the same name");
    auto entry = Locate(bytes, directory->begin, *central, path);
    if (!entry.ok()) return entry.status();
    located.push_back(*std::move(entry));
  }
  if (at != records.size()) return Broken(path, "its directory has bytes behind the last entry");
  std::vector<const Located*> order;
  order.reserve(located.size());
  for (const Located& entry : located) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->end > order[i]->begin) return Broken(path, "two entries overlap");
  }
  std::vector<ZipEntry> entries;
  entries.reserve(located.size());
  for (Located& entry : located) entries.push_back(std::move(entry.entry));
  return entries;
}

absl::Status CheckCrc(const ZipEntry& entry, const std::string& path) {
  if (Crc32(0, entry.data) == entry.crc) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}: entry {} does not match its CRC; it was damaged", path, entry.name));
}

}  // namespace filigree::interop
