// What JDBC's DatabaseMetaData finds out about a schema, as text without object ids: two databases with the same schema print the same.
//
// usage: java -cp postgresql.jar JdbcMetaData.java HOST PORT DATABASE USER PASSWORD SCHEMA

import java.sql.*;
import java.util.*;

public class JdbcMetaData {
    interface Asked { ResultSet of() throws SQLException; }

    static void show(String what, Asked asked, Set<String> left) throws SQLException {
        List<String> lines = new ArrayList<>();
        try (ResultSet r = asked.of()) {
            ResultSetMetaData columns = r.getMetaData();
            while (r.next()) {
                StringBuilder line = new StringBuilder();
                for (int i = 1; i <= columns.getColumnCount(); i++) {
                    if (!left.contains(columns.getColumnLabel(i).toUpperCase())) {
                        line.append(columns.getColumnLabel(i)).append('=').append(r.getString(i)).append(' ');
                    }
                }
                lines.add(line.toString());
            }
        }
        Collections.sort(lines);
        System.out.println("== " + what + " " + lines.size());
        lines.forEach(System.out::println);
    }

    public static void main(String[] args) throws Exception {
        String schema = args[5];
        Properties p = new Properties();
        p.setProperty("user", args[3]);
        p.setProperty("password", args[4]);
        String url = "jdbc:postgresql://" + args[0] + ":" + args[1] + "/" + args[2] + "?sslmode=disable";
        // The catalogue is the database, whose name differs; how many pages and rows there are is not told; owners and grantees differ.
        Set<String> left = Set.of("TABLE_CAT", "PKTABLE_CAT", "FKTABLE_CAT", "FUNCTION_CAT", "PROCEDURE_CAT", "TYPE_CAT", "PAGES", "CARDINALITY", "SPECIFIC_NAME");
        try (Connection c = DriverManager.getConnection(url, p)) {
            DatabaseMetaData m = c.getMetaData();
            show("getTableTypes", m::getTableTypes, left);
            show("getTypeInfo", () -> m.getTypeInfo(), left);
            show("getTables", () -> m.getTables(null, schema, "%", null), left);
            show("getTables of tables", () -> m.getTables(null, schema, "%", new String[] { "TABLE", "VIEW" }), left);
            show("getTables by a pattern", () -> m.getTables(null, schema, "survey\\_%", new String[] { "TABLE" }), left);
            show("getColumns", () -> m.getColumns(null, schema, "%", "%"), left);
            show("getFunctions", () -> m.getFunctions(null, schema, "%"), left);
            show("getProcedures", () -> m.getProcedures(null, schema, "%"), left);
            show("getUDTs", () -> m.getUDTs(null, schema, "%", null), left);
            show("built-in functions", () -> m.getFunctions(null, "pg_catalog", "array_%"), left);
            List<String> tables = new ArrayList<>();
            try (ResultSet r = m.getTables(null, schema, "%", new String[] { "TABLE" })) {
                while (r.next()) tables.add(r.getString("TABLE_NAME"));
            }
            Collections.sort(tables);
            for (String table : tables) {
                show("getPrimaryKeys " + table, () -> m.getPrimaryKeys(null, schema, table), left);
                show("getImportedKeys " + table, () -> m.getImportedKeys(null, schema, table), left);
                show("getExportedKeys " + table, () -> m.getExportedKeys(null, schema, table), left);
                show("getIndexInfo " + table, () -> m.getIndexInfo(null, schema, table, false, false), left);
                show("unique getIndexInfo " + table, () -> m.getIndexInfo(null, schema, table, true, true), left);
                show("getBestRowIdentifier " + table, () -> m.getBestRowIdentifier(null, schema, table, DatabaseMetaData.bestRowSession, true), left);
                show("getVersionColumns " + table, () -> m.getVersionColumns(null, schema, table), left);
            }
            System.out.println("== cross references");
            for (String a : tables) for (String b : tables) {
                show(a + " " + b, () -> m.getCrossReference(null, schema, a, null, schema, b), left);
            }
            System.out.println("== " + m.getMaxColumnNameLength() + " " + m.getSQLKeywords() + " " + m.getDatabaseProductVersion());
            // A result's own description names tables and columns.
            try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT * FROM " + schema + "." + tables.get(0))) {
                ResultSetMetaData d = r.getMetaData();
                for (int i = 1; i <= d.getColumnCount(); i++) {
                    System.out.println(d.getColumnName(i) + " " + d.getColumnTypeName(i) + " " + d.getPrecision(i) + " " + d.getScale(i));
                }
            }
        }
    }
}
