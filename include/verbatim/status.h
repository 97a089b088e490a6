/* verbatim/status.h - status codes and the message that goes with them.
 *
 * Every function of the library that can fail returns `int`: 0 (VB_OK) or one of the negative
 * codes below. The message of the calling thread's last failure is read with vb_errmsg(); it names
 * what failed, where, and what to do. The library never prints it and never exits.
 */
#ifndef VERBATIM_STATUS_H
#define VERBATIM_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define VB_API __attribute__((visibility("default")))

/* name, number, meaning. Numbers are stable; gaps are left for additions. */
#define VB_STATUS_MAP(X)                                                   \
	X(VB_OK, 0, "success")                                             \
	X(VB_EINVAL, -1, "an argument or option is not valid")             \
	X(VB_ENOMEM, -2, "memory could not be allocated")                  \
	X(VB_EIO, -3, "a file could not be opened, read or mapped")        \
	X(VB_EFORMAT, -4, "a file or text is malformed")                   \
	X(VB_EUNSUPPORTED, -5, "well-formed, but not supported")           \
	X(VB_ELIMIT, -6, "a limit would be exceeded")                      \
	X(VB_ENOTFOUND, -7, "a file, key, tensor or name does not exist")  \
	X(VB_ESTATE, -8, "not allowed in this state (API misuse)")         \
	X(VB_ECANCELLED, -10, "cancelled by the caller")                   \
	X(VB_ENUMERIC, -11, "a computation gave a value that is not finite") \
	X(VB_EDEVICE, -20, "the device failed or was lost")                \
	X(VB_EINTERNAL, -30, "an invariant was broken (a bug)")

enum vb_status {
#define VB_STATUS_ENUM(name, number, meaning) name = (number),
	VB_STATUS_MAP(VB_STATUS_ENUM)
#undef VB_STATUS_ENUM
};

/* The message of this thread's last failure; "" if there was none. Borrowed: valid until the
 * thread's next failing call into the library. */
VB_API const char *vb_errmsg(void);

/* "VB_EFORMAT" for VB_EFORMAT; "VB_E?" for a number that is no status. Static storage. */
VB_API const char *vb_status_name(int status);

/* The meaning of a status, as in the map above. Static storage. */
VB_API const char *vb_status_meaning(int status);

#ifdef __cplusplus
}
#endif
#endif
