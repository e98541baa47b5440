#include "worker/interop/output_file.h"

namespace filigree::interop {

absl::Status WriteWholeFile(checkpoint::FileSystem& files, const std::string& path,
                            const std::function<absl::Status(checkpoint::WritableFile&)>& write) {
  const std::string temporary = path + ".tmp";
  auto file = files.Create(temporary);
  if (!file.ok()) return file.status();
  absl::Status status = write(**file);
  if (status.ok()) status = (*file)->Sync();
  if (status.ok()) status = (*file)->Close();
  if (status.ok()) status = files.Rename(temporary, path);
  if (!status.ok()) files.RemoveFile(temporary).IgnoreError();
  return status;
}

absl::Status WriteWholeFile(checkpoint::FileSystem& files, const std::string& path, const std::string& text) {
  return WriteWholeFile(files, path,
                        [&](checkpoint::WritableFile& file) { return file.Append(text.data(), text.size()); });
}

}  // namespace filigree::interop
