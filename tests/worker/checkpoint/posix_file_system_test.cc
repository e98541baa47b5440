#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "worker/checkpoint/file_system.h"

// Of the machine's own files: there, not there, and nobody can tell.

namespace filigree::checkpoint {
namespace {

TEST(PosixFileSystem, WhatCannotBeLookedAtIsNotMissing) {
  const std::filesystem::path folder = testing::TempDir() + "filigree_posix_files_" + std::to_string(::getpid());
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "file") << "x";
  std::filesystem::create_symlink("loop", folder / "loop");  // an error that root meets too
  FileSystem& files = RealFileSystem();
  const auto there = files.Exists(folder / "file"), missing = files.Exists(folder / "none"),
             below_a_file = files.Exists(folder / "file" / "none"), loop = files.Exists(folder / "loop");
  ASSERT_TRUE(there.ok() && missing.ok() && below_a_file.ok());
  EXPECT_TRUE(*there);
  EXPECT_FALSE(*missing);
  EXPECT_FALSE(*below_a_file);
  ASSERT_FALSE(loop.ok());
  EXPECT_NE(std::string(loop.status().message()).find((folder / "loop").string()), std::string::npos) << loop.status();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace filigree::checkpoint
