#ifndef FILIGREE_COORDINATOR_CONSOLE_ASSETS_H_
#define FILIGREE_COORDINATOR_CONSOLE_ASSETS_H_

#include <array>

namespace filigree::coordinator {

// A file of the page, as it is in page/, and the path it is asked for by.
struct Asset {
  const char *path, *type, *text;
};

extern const std::array<Asset, 5> kAssets;

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CONSOLE_ASSETS_H_
