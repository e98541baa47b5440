# The revision that `filigree --version` and every run folder name.
find_package(Git QUIET)
set(FILIGREE_REVISION "unknown")
if(Git_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${PROJECT_SOURCE_DIR} rev-parse --short=12 HEAD
                  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(FILIGREE_REVISION ${revision})
  endif()
endif()
