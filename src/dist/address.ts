/** By which address of this machine the others can reach it. */

import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { UserError } from '../errors.js';

/**
 * The address that packets to `masterAddr` leave from; ESVIT_INTERFACE (or GLOO_SOCKET_IFNAME) names another network
 * interface. Where that is the loopback though there are other machines, the first outer address counts: a machine's
 * own name often means 127.0.1.1 to itself.
 */
export async function ownAddress(
  masterAddr: string,
  isOneMachine: boolean,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string> {
  const wanted = env.ESVIT_INTERFACE ?? env.GLOO_SOCKET_IFNAME;
  const interfaces = networkInterfaces();
  if (wanted !== undefined && wanted !== '') {
    const found =
      (interfaces[wanted] ?? []).find(({ family }) => family === 'IPv4') ?? interfaces[wanted]?.[0];
    if (found !== undefined) return found.address;
    throw new UserError(
      'environment',
      `there is no network interface ${wanted} with an address here; the names are ${Object.keys(interfaces).join(', ')}.`,
    );
  }
  const address = await sourceAddress(masterAddr);
  if (!address.startsWith('127.') || isOneMachine) return address;
  const outer = Object.values(interfaces)
    .flatMap((entries) => entries ?? [])
    .find(({ internal, family }) => !internal && family === 'IPv4');
  return outer?.address ?? address;
}

/** The kernel chooses the interface when a datagram socket is connected; nothing is sent. */
function sourceAddress(host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const fail = (error: Error) => {
      socket.close();
      reject(
        new UserError(
          'environment',
          `MASTER_ADDR ${host} is no address that this machine can reach (${error.message}).`,
          { cause: error },
        ),
      );
    };
    socket.once('error', fail);
    socket.connect(9, host, (error?: Error) => {
      if (error) {
        fail(error);
        return;
      }
      const { address } = socket.address();
      socket.close();
      resolve(address);
    });
  });
}
