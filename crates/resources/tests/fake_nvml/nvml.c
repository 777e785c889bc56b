/* A machine that is not there: the part of NVML that llmos calls, answered from the text file named by FAKE_NVML.
 *
 *   driver 580.82.07        before the first device: the driver
 *   cuda 13000
 *   device GPU-0            begins a device, with its UUID
 *   name NVIDIA H100        any of the keys below; a figure without a key is "not supported"
 *   part MIG-0              begins a part of the device above
 *   denied power            this key is "no permission"
 *   nvlink 0 1 0000:02:00.0 number, state, bus of the other end (- for none)
 *   lost_after 30           from this call on the device is lost
 *   gone_after 2            from this look-up on there is no such device
 *
 * Built by the tests with `cc -shared -fPIC`. The types are as in nvml.h of CUDA 13. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 2, UNSUPPORTED = 3, DENIED = 4, NOT_FOUND = 6, LOST = 15 };
enum { NODES_MAX = 64, LINES_MAX = 64, TEXT_MAX = 96 };

struct node {
    char keys[LINES_MAX][TEXT_MAX], values[LINES_MAX][TEXT_MAX], uuid[TEXT_MAX];
    int lines, calls, lookups;
    struct node *whole;
};
typedef struct node *device;
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char text[32]; };
struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct rates { unsigned gpu, memory; };

static struct node nodes[NODES_MAX], machine;
static int count;

static const char *value(device d, const char *key) {
    for (int i = 0; i < d->lines; i++)
        if (!strcmp(d->keys[i], key)) return d->values[i];
    return NULL;
}

/* Every question about a device comes through here. */
static int ask(device d, const char *key, const char **answer) {
    const char *lost = value(d, "lost_after"), *denied = value(d, "denied");
    if (lost && ++d->calls > atoi(lost)) return LOST;
    if (denied && !strcmp(denied, key)) return DENIED;
    return (*answer = value(d, key)) ? SUCCESS : UNSUPPORTED;
}

static int number(device d, const char *key, unsigned *to) {
    const char *text;
    int code = ask(d, key, &text);
    if (!code) *to = (unsigned)strtoul(text, NULL, 10);
    return code;
}

static int text(device d, const char *key, char *to, unsigned length) {
    const char *from;
    int code = ask(d, key, &from);
    if (!code) snprintf(to, length, "%s", from);
    return code;
}

static device nth(device whole, unsigned index) {
    for (int i = 0; i < count; i++)
        if (nodes[i].whole == whole && !index--) return &nodes[i];
    return NULL;
}

static void place(const char *bus, struct pci *to) {
    memset(to, 0, sizeof *to);
    snprintf(to->text, sizeof to->text, "0000%s", bus);
}

int nvmlInit_v2(void) {
    FILE *file = fopen(getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "", "r");
    char line[256], key[TEXT_MAX], rest[TEXT_MAX];
    device now = &machine, whole = NULL;
    if (!file) return 9; /* the driver is not loaded */
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%95s %95[^\n]", key, rest) != 2) continue;
        if ((!strcmp(key, "device") || !strcmp(key, "part")) && count < NODES_MAX) {
            now = &nodes[count++];
            snprintf(now->uuid, TEXT_MAX, "%s", rest);
            if (*key == 'd') whole = now;
            else now->whole = whole;
            snprintf(key, sizeof key, "uuid");
        }
        if (now->lines == LINES_MAX) continue;
        strcpy(now->keys[now->lines], key);
        strcpy(now->values[now->lines++], rest);
    }
    fclose(file);
    return SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }
int nvmlSystemGetDriverVersion(char *to, unsigned length) { return text(&machine, "driver", to, length); }
int nvmlSystemGetCudaDriverVersion_v2(int *to) { return number(&machine, "cuda", (unsigned *)to); }

int nvmlDeviceGetCount_v2(unsigned *to) {
    for (*to = 0; nth(NULL, *to); ++*to) {}
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *to) { return (*to = nth(NULL, index)) ? SUCCESS : INVALID; }
int nvmlDeviceGetHandleByUUID(const char *uuid, device *to) {
    for (int i = 0; i < count; i++) {
        const char *gone = value(&nodes[i], "gone_after");
        if (strcmp(nodes[i].uuid, uuid) || (gone && ++nodes[i].lookups > atoi(gone))) continue;
        *to = &nodes[i];
        return SUCCESS;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(device d, char *to, unsigned length) { return text(d, "uuid", to, length); }
int nvmlDeviceGetName(device d, char *to, unsigned length) { return text(d, "name", to, length); }
int nvmlDeviceGetPciInfo_v3(device d, struct pci *to) {
    const char *bus;
    int code = ask(d, "bus", &bus);
    if (!code) place(bus, to);
    return code;
}
int nvmlDeviceGetMemoryInfo_v2(device d, struct memory *to) {
    unsigned total, used;
    int code = number(d, "memory_mib", &total);
    if (!code) code = number(d, "used_mib", &used);
    if (code) return code;
    to->total = (unsigned long long)total << 20;
    to->used = (unsigned long long)used << 20;
    to->reserved = 1 << 20;
    to->free = to->total - to->used - to->reserved;
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor) {
    const char *version;
    int code = ask(d, "compute", &version);
    if (!code) sscanf(version, "%d.%d", major, minor);
    return code;
}
int nvmlDeviceGetClockInfo(device d, int kind, unsigned *to) { return number(d, kind == 2 ? "memory_clock" : "clock", to); }
int nvmlDeviceGetMaxClockInfo(device d, int kind, unsigned *to) { return kind == 1 ? number(d, "clock_max", to) : INVALID; }
int nvmlDeviceGetPowerUsage(device d, unsigned *to) { return number(d, "power", to); }
int nvmlDeviceGetEnforcedPowerLimit(device d, unsigned *to) { return number(d, "power_limit", to); }
int nvmlDeviceGetTemperature(device d, int sensor, unsigned *to) { return sensor ? INVALID : number(d, "temperature", to); }
int nvmlDeviceGetUtilizationRates(device d, struct rates *to) {
    to->memory = 0;
    return number(d, "busy", &to->gpu);
}
int nvmlDeviceGetCurrentClocksThrottleReasons(device d, unsigned long long *to) {
    unsigned bits;
    int code = number(d, "throttle", &bits);
    if (!code) *to = bits;
    return code;
}
int nvmlDeviceGetEccMode(device d, int *now, int *pending) {
    unsigned on;
    int code = number(d, "ecc", &on);
    if (!code) *now = *pending = (int)on;
    return code;
}
int nvmlDeviceGetTotalEccErrors(device d, int kind, int counter, unsigned long long *to) {
    unsigned errors;
    int code = counter ? INVALID : number(d, kind ? "uncorrected" : "corrected", &errors);
    if (!code) *to = errors;
    return code;
}
int nvmlDeviceGetMigMode(device d, unsigned *now, unsigned *pending) {
    int code = number(d, "mig", now);
    if (!code) *pending = *now;
    return code;
}
int nvmlDeviceGetMaxMigDeviceCount(device d, unsigned *to) { return number(d, "mig_places", to); }
int nvmlDeviceGetMigDeviceHandleByIndex(device d, unsigned index, device *to) {
    return (*to = nth(d, index)) ? SUCCESS : NOT_FOUND;
}

/* State and other end of a link. */
static int link(device d, unsigned index, int *state, char *bus) {
    const char *first;
    unsigned found;
    int code = ask(d, "nvlink", &first);
    if (code) return code;
    for (int i = 0; i < d->lines; i++)
        if (!strcmp(d->keys[i], "nvlink") && sscanf(d->values[i], "%u %d %31s", &found, state, bus) == 3 && found == index)
            return SUCCESS;
    return INVALID;
}
int nvmlDeviceGetNvLinkState(device d, unsigned index, int *state) {
    char bus[32];
    return link(d, index, state, bus);
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(device d, unsigned index, struct pci *to) {
    char bus[32];
    int state, code = link(d, index, &state, bus);
    if (!code) place(bus, to);
    return code;
}
