// Prisma's own schema engine (as WebAssembly, through its adapter for `pg`): `db pull` of one schema, printed; with a schema file also
// `db push` of it, then `db pull`.
//
// usage: prisma_introspect.mjs MODULES URL SCHEMA [MODELS]
// MODULES is a node_modules directory with @prisma/schema-engine-wasm, @prisma/adapter-pg and @prisma/driver-adapter-utils.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, url, schema, models] = process.argv.slice(2);
const require = createRequire(path.join(modules, 'x.js'));
const { PrismaPg } = require('@prisma/adapter-pg');
const { bindMigrationAwareSqlAdapterFactory } = require('@prisma/driver-adapter-utils');
const engine = path.join(modules, '@prisma/schema-engine-wasm');
const glue = await import(pathToFileURL(path.join(engine, 'schema_engine_bg.js')));
const { instance } = await WebAssembly.instantiate(fs.readFileSync(path.join(engine, 'schema_engine_bg.wasm')), {
  './schema_engine_bg.js': glue,
});
glue.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start();

globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (message) => console.error(message) };

const source = (text) => `datasource db {\n  provider = "postgresql"\n  schemas = ["${schema}"]\n}\n${text}`;
const container = (text) => ({ files: [{ path: '/schema.prisma', content: source(text) }] });
const filters = { externalTables: [], externalEnums: [] };

// The adapter does not read a few types of the catalogue ("char", name, arrays of names): for it they are char(1) and text.
const asText = new Map([[18, 1042], [19, 25], [1003, 1009]]);
const pg = new PrismaPg({ connectionString: url }, { schema });
for (const connects of ['connect', 'connectToShadowDb']) {
  const plain = pg[connects].bind(pg);
  pg[connects] = async () => {
    const connection = await plain();
    const perform = connection.performIO.bind(connection);
    connection.performIO = async (query) => {
      const result = await perform(query);
      result.fields?.forEach((field) => { field.dataTypeID = asText.get(field.dataTypeID) ?? field.dataTypeID; });
      return result;
    };
    return connection;
  };
}
const factory = bindMigrationAwareSqlAdapterFactory(pg);
const prisma = await glue.SchemaEngine.new({ datamodels: [['/schema.prisma', source('')]] }, () => {}, factory);

if (models) {
  const wanted = container(fs.readFileSync(models, 'utf8'));
  {
  const pushed = await prisma.schemaPush({ force: false, schema: wanted, filters });
  console.log('pushed', JSON.stringify(pushed));
  }
}
const pulled = await prisma.introspect({
  schema: { files: container('').files, configDir: '/' },
  baseDirectoryPath: '/', force: true, compositeTypeDepth: -1, namespaces: [schema],
});
for (const file of pulled.schema.files) console.log(file.content.split(url).join('URL'));
console.log('views', JSON.stringify(pulled.views), 'warnings', pulled.warnings);
process.exit(0);
