/** What every command in the table must keep to. */

import { describe, expect, it } from 'vitest';
import type { CommandEntry } from '../../src/cli/app.js';
import { helpOf } from '../../src/cli/arguments.js';
import { commands } from '../../src/cli/commands.js';
import { flagsOf } from '../../src/cli/flags.js';

describe.each(Object.entries<CommandEntry>(commands))('esvit %s', (name, entry) => {
  it('is what the table says, and explains every flag', async () => {
    const command = await entry.load();
    expect(command.name).toBe(name);
    expect(command.summary).toBe(entry.summary);
    const flags = flagsOf(command.options);
    for (const flag of flags) expect(flag.description, `--${flag.key}`).not.toBe('');
    for (const flag of flags) expect(flag.key).toMatch(/^[a-z][a-z0-9_]*$/);
    for (const place of command.positionals ?? []) expect(flags.map(({ key }) => key)).toContain(place);
    expect(command.examples.length).toBeGreaterThan(0);
    for (const example of command.examples) expect(example.startsWith(`esvit ${name}`), example).toBe(true);
    for (const common of ['json', 'quiet', 'help']) expect(flags.map(({ key }) => key)).not.toContain(common);
    expect(helpOf(command)).toContain(command.summary);
  });
});
