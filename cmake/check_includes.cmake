# Run by the build for every room, test and program: stops where a file includes a room that its own has not declared.
#
#   cmake -DROOM=worker/mask -DROOT=/repository -DFILES=a.cc,b.h -DALLOWED=worker/mask,kernels/base [-DDEPFILE=x.d -DSTAMP=x]
#         -P check_includes.cmake
#
# FILES are absolute; files of the same folders that they include are read too, listed or not, so that nothing hides in a
# private header. A project file is included by its path from the root and in no other way: no "..", no bare name of a
# neighbour, no absolute path, no macro. STAMP and DEPFILE tell the build when to look again.
cmake_policy(SET CMP0057 NEW)
string(REPLACE "," ";" queue "${FILES}")
string(REPLACE "," ";" ALLOWED "${ALLOWED}")
set(top "^(kernels|worker|coordinator|proto|tests)/")
set(misses "")
set(seen "")
set(own "")
foreach(file IN LISTS queue)
  get_filename_component(folder ${file} DIRECTORY)
  list(APPEND own ${folder})
endforeach()

# lines: every include of `file`, one list element each. Continued lines are joined, characters that CMake's lists trip over
# are replaced; none of them belongs into a path of ours.
function(read_includes file out)
  file(READ ${file} text)
  string(REGEX REPLACE "\\\\\r?\n" "" text "\n${text}\n")
  string(REGEX REPLACE "[][;\\]" "_" text "${text}")
  string(REGEX MATCHALL "\n[ \t]*#[ \t]*(include|import)[^\n]*" lines "${text}")
  set(${out} "${lines}" PARENT_SCOPE)
endfunction()

while(queue)
  list(POP_FRONT queue file)
  if(file IN_LIST seen OR NOT EXISTS ${file})
    continue()
  endif()
  list(APPEND seen ${file})
  get_filename_component(here ${file} DIRECTORY)
  read_includes(${file} lines)
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "#[ \t]*include[ \t]*[\"<]([^\">]+)[\">]")
      string(STRIP "${line}" line)
      list(APPEND misses "${file}: ${line} - name the file itself, between quotes or angle brackets")
      continue()
    endif()
    set(path "${CMAKE_MATCH_1}")
    if(path MATCHES "(^|/)\\.\\.?(/|$)" OR IS_ABSOLUTE "${path}" OR (EXISTS ${here}/${path} AND NOT EXISTS ${ROOT}/${path}))
      list(APPEND misses "${file}: includes \"${path}\" - write the path from the root of the repository")
    elseif(path MATCHES "${top}" OR EXISTS ${ROOT}/${path})
      get_filename_component(folder "${path}" DIRECTORY)
      if(NOT folder IN_LIST ALLOWED)
        list(APPEND misses "${file}: includes \"${path}\", but ${ROOM} does not declare ${folder} in USES")
      elseif(${ROOT}/${folder} IN_LIST own)
        list(APPEND queue ${ROOT}/${path})
      endif()
    endif()
  endforeach()
endwhile()

if(misses)
  list(JOIN misses "\n  " text)
  message(FATAL_ERROR "Rooms know only what they declare:\n  ${text}\nDeclare the room in USES if it may know it, or move the code.")
endif()
if(STAMP)
  file(TOUCH ${STAMP})
  list(JOIN seen " " text)
  file(WRITE ${DEPFILE} "${STAMP}: ${text}\n")
endif()
