// A free port for a program that cannot choose one itself.
import { createServer } from 'node:net';

/** Asks the system for a free port of the loopback interface. Another program may take it before it is used. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
