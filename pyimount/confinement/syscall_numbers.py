"""The numbers of the system calls that a process needs which reads open files, reckons and answers.

In the Linux kernel: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
"""

from collections.abc import Mapping


def _read(text: str) -> Mapping[str, int]:
    return {name: int(number) for name, _, number in (each.partition("=") for each in text.split())}


X86_64 = _read("""
    read=0 write=1 close=3 stat=4 fstat=5 lstat=6 poll=7 lseek=8 mmap=9 mprotect=10 munmap=11 brk=12
    rt_sigaction=13 rt_sigprocmask=14 rt_sigreturn=15 pread64=17 pwrite64=18 readv=19 writev=20
    access=21 sched_yield=24 mremap=25 msync=26 madvise=28 dup=32 dup2=33 pause=34 nanosleep=35
    getpid=39 sendto=44 recvfrom=45 sendmsg=46 recvmsg=47 shutdown=48 clone=56 exit=60 uname=63 fcntl=72
    fsync=74 fdatasync=75 ftruncate=77 getdents=78 getcwd=79 readlink=89 gettimeofday=96 getrlimit=97
    getrusage=98 sysinfo=99 times=100 getuid=102 getgid=104 geteuid=107 getegid=108 getppid=110
    getpgrp=111 sigaltstack=131 arch_prctl=158 gettid=186 time=201 futex=202 sched_getaffinity=204
    getdents64=217 set_tid_address=218 restart_syscall=219 fadvise64=221 clock_gettime=228
    clock_getres=229 clock_nanosleep=230 exit_group=231 tgkill=234 openat=257 newfstatat=262
    readlinkat=267 faccessat=269 ppoll=271 set_robust_list=273 splice=275 tee=276 vmsplice=278
    fallocate=285 eventfd2=290 dup3=292 pipe2=293 preadv=295 pwritev=296 prlimit64=302 getrandom=318
    membarrier=324 statx=332 rseq=334 faccessat2=439
""")

AARCH64 = _read("""
    getcwd=17 eventfd2=19 dup=23 dup3=24 fcntl=25 ftruncate=46 fallocate=47 faccessat=48 openat=56
    close=57 pipe2=59 getdents64=61 lseek=62 read=63 write=64 readv=65 writev=66 pread64=67 pwrite64=68
    preadv=69 pwritev=70 ppoll=73 vmsplice=75 splice=76 tee=77 readlinkat=78 newfstatat=79 fstat=80
    fsync=82 fdatasync=83 exit=93 exit_group=94 set_tid_address=96 futex=98 set_robust_list=99
    nanosleep=101 clock_gettime=113 clock_getres=114 clock_nanosleep=115 sched_getaffinity=123
    sched_yield=124 restart_syscall=128 tgkill=131 sigaltstack=132 rt_sigaction=134 rt_sigprocmask=135
    rt_sigreturn=139 times=153 uname=160 getrlimit=163 getrusage=165 gettimeofday=169 getpid=172
    getppid=173 getuid=174 geteuid=175 getgid=176 getegid=177 gettid=178 sysinfo=179 sendto=206
    recvfrom=207 shutdown=210 sendmsg=211 recvmsg=212 brk=214 munmap=215 mremap=216 clone=220 mmap=222
    fadvise64=223 mprotect=226 msync=227 madvise=233 prlimit64=261 getrandom=278 membarrier=283
    statx=291 rseq=293 faccessat2=439
""")

CLONE3 = 435
"""The same number everywhere."""
