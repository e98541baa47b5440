#ifndef FILIGREE_WORKER_INTEROP_ZIP_FORMAT_H_
#define FILIGREE_WORKER_INTEROP_ZIP_FORMAT_H_

#include <cstdint>

// Numbers of the zip format (APPNOTE 6.3) that reader and writer share.

namespace filigree::interop::zip {

inline constexpr uint32_t kLocalSignature = 0x04034b50, kDescriptorSignature = 0x08074b50,
                          kCentralSignature = 0x02014b50, kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50,
                          kLocator64Signature = 0x07064b50;
inline constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
inline constexpr uint16_t kStored = 0;
inline constexpr uint16_t kFlagEncrypted = 1, kFlagDescriptor = 8, kFlagUtf8 = 0x800;
inline constexpr uint16_t kZip64Extra = 1;
inline constexpr uint32_t kSeeZip64 = 0xffffffff;

}  // namespace filigree::interop::zip

#endif  // FILIGREE_WORKER_INTEROP_ZIP_FORMAT_H_
