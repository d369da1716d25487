# Collects the system calls that the proxy's files declare beside their code into a header.
#
#   cmake -DOUTPUT=HEADER -DCOMPILER=C++ -P declared_system_calls.cmake FILE...
#
# A declaration is a line of its own:
#
#   // syscalls: sendto sendmsg epoll_wait|epoll_pwait
#   // syscalls[container_netns]: setns
#
# The first holds always, the second where a proxy has that Need (system_call_filter.h). Architectures
# have not all got the same calls; of `a|b` those are meant that there are. A name that is none does
# not compile.

set(declared "")
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE 6 ${last})
  set(file "${CMAKE_ARGV${i}}")
  file(STRINGS "${file}" lines REGEX "^// syscalls(\\[[a-z_]+\\])?: ")
  foreach(line IN LISTS lines)
    set(need always)
    if(line MATCHES "^// syscalls\\[([a-z_]+)\\]")
      set(need ${CMAKE_MATCH_1})
    endif()
    string(REGEX REPLACE "^// syscalls[^:]*: *" "" names "${line}")
    string(REPLACE " " ";" names "${names}")
    foreach(name IN LISTS names)
      string(REPLACE "|" ";" choices "${name}")
      list(LENGTH choices count)
      if(count EQUAL 1)
        string(APPEND declared "    {SYS_${name}, Need::${need}},\n")
        continue()
      endif()
      list(TRANSFORM choices REPLACE "(.+)" "!defined(SYS_\\1)" OUTPUT_VARIABLE missing)
      list(JOIN missing " && " missing)
      string(APPEND declared "#if ${missing}\n#error \"${file} declares ${name}\"\n#endif\n")
      foreach(choice IN LISTS choices)
        string(APPEND declared "#ifdef SYS_${choice}\n    {SYS_${choice}, Need::${need}},\n#endif\n")
      endforeach()
    endforeach()
  endforeach()
endforeach()

# The names of all calls, for the one that is refused.
file(WRITE "${OUTPUT}.cpp" "#include <sys/syscall.h>\n")
execute_process(COMMAND "${COMPILER}" -E -dM "${OUTPUT}.cpp" OUTPUT_VARIABLE macros
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "#define SYS_[a-z0-9_]+" macros "${macros}")
list(TRANSFORM macros REPLACE "#define SYS_(.+)" "    {SYS_\\1, \"\\1\"},\n")
list(JOIN macros "" names)

file(WRITE "${OUTPUT}" "// Made by declared_system_calls.cmake.
constexpr DeclaredCall kDeclaredCalls[] = {
${declared}};
constexpr NamedCall kNamedCalls[] = {
${names}};
")
