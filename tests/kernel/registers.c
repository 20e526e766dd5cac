/* ptrace() for user-mode-linux 6.1 on processors with more register state than it knows (AMX).
 *
 * It reads and sets its processes' registers as 2696 bytes (all up to PKRU). A host whose state is larger
 * gives a part, but takes only a whole: here such a part is made whole, the rest left at its initial state,
 * which no guest can have changed without asking the host for it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NT_X86_XSTATE 0x202
#define XSTATE_BV 512 /* of the XSAVE header: which components are not in their initial state */
#define UP_TO_PKRU ((uint64_t) 0x3ff)

static _Alignas(64) unsigned char state[1 << 16];

long ptrace(enum __ptrace_request request, ...)
{
    static long (*next)(int, pid_t, void *, void *);
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (!next)
        next = dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && (uintptr_t) address == NT_X86_XSTATE) {
        const struct iovec *part = data;
        struct iovec whole = {state, sizeof state};
        uint64_t components;
        if (next(PTRACE_GETREGSET, pid, address, &whole) == 0 && part->iov_len < whole.iov_len) {
            memset(state, 0, whole.iov_len);
            memcpy(state, part->iov_base, part->iov_len);
            memcpy(&components, state + XSTATE_BV, sizeof components);
            components &= UP_TO_PKRU;
            memcpy(state + XSTATE_BV, &components, sizeof components);
            return next(request, pid, address, &whole);
        }
    }
    return next(request, pid, address, data);
}
